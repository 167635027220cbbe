"""What the reader of every file format returns: a table whose rows are read block by block."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: The number of rows that are read at a time, so that memory does not grow with the file.
BLOCK = 65_536


class TableError(ValueError):
    """A file of numbers cannot be used; the message names the file, the place, what was found and what was expected."""


class Block(NamedTuple):
    """Consecutive rows of a table.

    Attributes:
        values: (n, k) float64, the k selected columns; may contain NaN and infinity.
        place: the place and the content of a row of ``values``, for messages.
    """

    values: np.ndarray
    place: Callable[[int], str]


class Table(NamedTuple):
    """A table of numbers in a file.

    Attributes:
        path: the file.
        names: the header's names, of which those of unnamed columns are empty; None without a header.
        width: the number of columns.
        top: the place and the content of the header, or else of the first row, for messages.
        note: what the user should know about how the file was understood; empty if nothing.
        hint: what may be wrong if the number of columns is, to append to a message; empty if nothing.
        blocks: reads the columns with these indices, up to ``BLOCK`` rows at a time. An error in a row raises
            ``TableError`` when its block is read, and one that concerns all rows after the last block.
    """

    path: Path
    names: tuple[str, ...] | None
    width: int
    top: str
    note: str
    hint: str
    blocks: Callable[[Sequence[int]], Iterator[Block]]
