"""The reader of a table in a file of any supported format."""

import os
from pathlib import Path

from ._npy import npy_table
from ._text import text_table
from .table import Table, TableError

_READERS = {".npy": npy_table, **dict.fromkeys((".csv", ".txt", ".dat", ".tsv"), text_table)}
#: The extensions of files that can be read.
EXTENSIONS = tuple(_READERS)


def read_table(path: str | os.PathLike[str]) -> Table:
    """The table in a text file or a .npy file. Only its beginning is read; ``Table.blocks`` reads its rows.

    Raises:
        TableError: as in ``text_table`` and ``npy_table``, or the path has an unknown extension or is not a file.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise TableError(f"{path}: unknown file extension {path.suffix!r}; use {', '.join(EXTENSIONS)}")
    if os.path.isdir(path):
        raise TableError(f"{path}: is a folder; give a file")
    if not os.path.isfile(path):
        raise TableError(f"{path}: no such file; expected a table with extension {', '.join(EXTENSIONS)}")
    return _READERS[path.suffix.lower()](path)
