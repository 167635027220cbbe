"""Points from a file, checked and read block by block, so that memory does not grow with the file."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..base.names import nearest, one_line
from ..pde.problem import Problem

#: The number of rows that are read, predicted and written at a time.
BLOCK = 65_536
#: The length in bytes from which a line is not taken for a row of numbers, and is not read to its end.
LONGEST_LINE = 1_000_000
#: NumPy accepts headers of up to 10 000 characters; the headers that we write take 128 bytes.
_LONGEST_HEADER = 16_384


class PointsError(ValueError):
    """A file of points cannot be used; the message names the file, the place, what was found and what was expected."""


def read_points(path: str | os.PathLike[str], problem: Problem) -> Iterator[np.ndarray]:
    """The points of a file as float64 blocks of shape (up to ``BLOCK``, d), with ``problem.axes`` as columns.

    Raises:
        PointsError: an unknown extension, an unreadable or damaged file, a wrong number of columns, or a cell that is
            not a finite number. An error in a block is raised when that block is read.
    """
    path = Path(path)
    check_extension(path)
    if not os.path.isfile(path):
        raise PointsError(f"{path}: no such file; expected a .csv or .npy file with columns {', '.join(problem.axes)}")
    return _not_empty(path, (_csv_blocks if path.suffix.lower() == ".csv" else _npy_blocks)(path, problem))


def _not_empty(path: Path, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    count = 0
    for z in blocks:
        count += len(z)
        yield z
    if not count:
        raise PointsError(f"{path}: contains no points; expected at least one row")


def check_extension(path: Path) -> None:
    """Check that the name is that of a file of points.

    Raises:
        PointsError: the extension is neither .csv nor .npy.
    """
    if path.suffix.lower() not in (".csv", ".npy"):
        raise PointsError(f"{path}: unknown file extension {path.suffix!r}; use .csv or .npy")


def _npy_blocks(path: Path, problem: Problem) -> Iterator[np.ndarray]:
    d = len(problem.axes)
    expected = f"expected an array of shape (n, {d}) of real numbers, with columns {', '.join(problem.axes)}"
    try:
        # The file is read, not mapped: if another process truncated a mapped file, this process would die of a signal.
        with path.open("rb") as file:
            shape, fortran, dtype = _npy_header(file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
            if dtype.kind not in "fiu" or len(shape) != 2 or shape[1] != d or shape[0] < 0:
                raise PointsError(f"{path}: has shape {one_line(shape)} and type {one_line(dtype)}; {expected}")
            if size - start < shape[0] * shape[1] * dtype.itemsize:
                raise ValueError(f"{size} bytes are too few for shape {one_line(shape)}")
            for row in range(0, shape[0], BLOCK):
                z = _npy_rows(file, start, shape, fortran, dtype, row)
                _check_finite(path, z, [f"row {row + i}" for i in _first_not_finite(z)])
                yield z
    except PointsError:
        raise
    except (ValueError, OSError) as error:
        raise PointsError(f"{path}: not a readable .npy file ({one_line(error)}); {expected}") from None


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the order is Fortran's, and type; leaves the file at its first number.

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
    file.seek(head.tell())
    return header


def _npy_rows(
    file: BinaryIO, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype, row: int
) -> np.ndarray:
    """Up to ``BLOCK`` rows from ``row``, as (n, d) float64, of the array whose first number is at byte ``start``."""
    n, d = min(BLOCK, shape[0] - row), shape[1]
    # The index of the first number and the length of each contiguous span.
    spans = [(j * shape[0] + row, n) for j in range(d)] if fortran else [(row * d, n * d)]
    arrays = []
    for first, count in spans:
        file.seek(start + first * dtype.itemsize)
        content = file.read(count * dtype.itemsize)
        if len(content) < count * dtype.itemsize:
            raise ValueError("the file was truncated while it was being read")
        arrays.append(np.frombuffer(content, dtype))
    with np.errstate(over="ignore"):  # a number too large for float64 becomes infinite and is rejected
        return (np.stack(arrays, axis=1) if fortran else arrays[0].reshape(n, d)).astype(np.float64)


def _first_not_finite(z: np.ndarray) -> np.ndarray:
    """The index of the first row that is not finite, as an array of at most one element."""
    return np.flatnonzero(~np.isfinite(z).all(axis=1))[:1]


def _check_finite(path: Path, z: np.ndarray, places: Sequence[str]) -> None:
    for place, i in zip(places, _first_not_finite(z), strict=True):
        raise PointsError(f"{path}, {place}: {z[i].tolist()} is not finite; remove or fix that row")


def _csv_blocks(path: Path, problem: Problem) -> Iterator[np.ndarray]:
    d = len(problem.axes)
    columns = list(range(d))
    rows: list[list[float]] = []
    lines: list[int] = []

    def take_block() -> np.ndarray:
        z = np.asarray(rows, np.float64)[:, columns]
        _check_finite(path, z, [f"line {lines[i]}" for i in _first_not_finite(z)])
        rows.clear()
        lines.clear()
        return z

    for index, (line, cells) in enumerate(_csv_cells(path)):
        if index == 0 and (header := _header(path, cells, problem)):
            columns = header
            continue
        if len(cells) != d:
            raise PointsError(
                f"{path}, line {line}: expected {d} columns separated by commas ({', '.join(problem.axes)}), found "
                f"{len(cells)}"
            )
        if invalid := [cell for cell in cells if not _is_number(cell)]:
            raise PointsError(f"{path}, line {line}: {one_line(repr(invalid[0]), 40)} is not a number; fix that cell")
        rows.append([float(cell) for cell in cells])
        lines.append(line)
        if len(rows) == BLOCK:
            yield take_block()
    if rows:
        yield take_block()


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line number and the cells of every line that is not blank."""
    number = 0
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise PointsError(f"{path}: cannot be read ({one_line(error)})") from None
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise PointsError(f"{path}, line {number}: longer than {LONGEST_LINE} bytes; is this a .csv file?")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise PointsError(f"{path}, line {number}: not UTF-8 text; is this a .csv file?") from None
            if "\0" in text:
                raise PointsError(f"{path}, line {number}: contains a zero byte; is this a .csv file?")
            if text.strip():
                yield number, [cell.strip().strip('"') for cell in text.split(",")]


def _header(path: Path, cells: list[str], problem: Problem) -> list[int] | None:
    """The column of each axis, or None if the first line is not a header."""
    if all(map(_is_number, cells)):
        return None
    if not any(cell.isidentifier() and cell.lower() not in ("nan", "inf", "infinity") for cell in cells):
        return None  # a row with a damaged cell, which is reported as such
    for cell in cells:
        if cell not in problem.axes:
            raise PointsError(
                f"{path}, header: column {one_line(repr(cell), 40)} is unknown{nearest(cell[:40], problem.axes)}"
            )
    if sorted(cells) != sorted(problem.axes):
        raise PointsError(
            f"{path}, header: expected each of the columns {', '.join(problem.axes)} once, found "
            f"{one_line(', '.join(cells), 100)}"
        )
    return [cells.index(axis) for axis in problem.axes]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_5 as 15; in a table it is a typing error
