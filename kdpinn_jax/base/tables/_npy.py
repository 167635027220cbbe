"""A table in a .npy file."""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from ..names import one_line
from . import table
from .table import Block, Table, TableError

#: NumPy accepts headers of up to 10 000 characters; the headers that we write take 128 bytes.
_LONGEST_HEADER = 16_384
#: The number of numbers that are read at a time, if the rows are long.
_MOST_NUMBERS = 4_000_000
_EXPECTED = "expected an array of shape (rows, columns) of real numbers"


class _Array(NamedTuple):
    """The array in a file: where its first number is, and how it is stored."""

    start: int
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def npy_table(path: Path) -> Table:
    """The two-dimensional array in a .npy file. Nothing in the file is unpickled.

    Raises:
        TableError: the file is damaged, or its array is not a matrix of real numbers with at least one row. ``blocks``
            raises it if the file has been truncated in the meantime.
    """
    # The file is read, not mapped: if another process truncated a mapped file, this process would die of a signal.
    try:
        with path.open("rb") as file:
            array = _header(file)
            size = os.fstat(file.fileno()).st_size
    except (ValueError, OSError) as error:
        raise TableError(f"{path}: not a readable .npy file ({one_line(error)}); {_EXPECTED}") from None
    described = f"{path}: has shape {one_line(array.shape)} and type {one_line(array.dtype)}"
    if array.dtype.kind not in "fiu" or len(array.shape) != 2 or min(array.shape) < 0:
        raise TableError(f"{described}; {_EXPECTED}")
    rows, width = array.shape
    if size - array.start < rows * width * array.dtype.itemsize:
        raise TableError(f"{path}: not a readable .npy file ({size} bytes are too few for its shape); {_EXPECTED}")
    if not rows or not width:
        raise TableError(f"{described}; expected at least one row of numbers")
    return Table(path, None, width, described, "", "", lambda columns: _blocks(path, array, columns))


def _blocks(path: Path, array: _Array, columns: Sequence[int]) -> Iterator[Block]:
    try:
        with path.open("rb") as file:
            count = min(table.BLOCK, max(1, _MOST_NUMBERS // array.shape[1]))
            for first in range(0, array.shape[0], count):
                values = _rows(file, array, slice(first, min(first + count, array.shape[0])), columns)
                where = lambda i, first=first, values=values: f"{path}, row {first + i} ({values[i].tolist()})"
                yield Block(values, where)
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({one_line(error)})") from None


def _header(file: BinaryIO) -> _Array:
    """The description of the array in a file.

    Raises:
        ValueError: the file has no valid header.
    """
    head = io.BytesIO(file.read(_LONGEST_HEADER))  # whatever header length the file claims
    version = np.lib.format.read_magic(head)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"unsupported format version {version}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns about headers from Python 2, which it can read
            header = read(head)
    except Exception as error:  # NumPy evaluates the header as a Python literal, which can raise almost anything
        raise ValueError(error) from None
    return _Array(head.tell(), *header)


def _rows(file: BinaryIO, array: _Array, selected: slice, columns: Sequence[int]) -> np.ndarray:
    """The selected rows and columns as (n, len(columns)) float64.

    Raises:
        OSError: the file is shorter than its header states.
    """
    rows, width = array.shape
    first, n = selected.start, selected.stop - selected.start
    # The index of the first number and the length of each contiguous span.
    spans = [(j * rows + first, n) for j in columns] if array.fortran else [(first * width, n * width)]
    parts = []
    for start, count in spans:
        file.seek(array.start + start * array.dtype.itemsize)
        content = file.read(count * array.dtype.itemsize)
        if len(content) < count * array.dtype.itemsize:
            raise OSError("the file was truncated while it was being read")
        parts.append(np.frombuffer(content, array.dtype))
    values = np.stack(parts, axis=1) if array.fortran else parts[0].reshape(n, width)[:, list(columns)]
    with np.errstate(over="ignore"):  # a number too large for float64 becomes infinite
        return values.astype(np.float64)
