"""Points from a file, block by block and checked: memory does not grow with the file."""

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

#: Rows read, predicted and written at a time.
BLOCK = 65_536
#: A line this long is not a row of numbers, and is not read to its end.
LONGEST_LINE = 1_000_000
#: NumPy reads headers up to 10 000 characters, and ours take 128 bytes.
_LONGEST_HEADER = 16_384


class PointsError(ValueError):
    """A file of points that cannot be used; the message names the file, the place, what came and what was expected."""


def read_points(path: str | os.PathLike[str], problem: Problem) -> Iterator[np.ndarray]:
    """The points of a file as blocks (up to ``BLOCK``, d) in float64, columns as ``problem.axes``.

    Raises:
        PointsError: an unknown ending, an unreadable or damaged file, a wrong number of columns, a cell that is not a
            finite number; some of it only when the block is asked for.
    """
    path = Path(path)
    check_ending(path)
    if not os.path.isfile(path):
        raise PointsError(f"{path}: no such file; give a .csv or .npy file with columns {', '.join(problem.axes)}")
    return _not_empty(path, (_csv_blocks if path.suffix.lower() == ".csv" else _npy_blocks)(path, problem))


def _not_empty(path: Path, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    count = 0
    for z in blocks:
        count += len(z)
        yield z
    if not count:
        raise PointsError(f"{path}: holds no points; give at least one row")


def check_ending(path: Path) -> None:
    """Fail where the name is not that of a file of points."""
    if path.suffix.lower() not in (".csv", ".npy"):
        raise PointsError(f"{path}: the ending {path.suffix!r} is unknown; use .csv or .npy")


def _npy_blocks(path: Path, problem: Problem) -> Iterator[np.ndarray]:
    expected = f"expected an array (n, {len(problem.axes)}) of real numbers with columns {', '.join(problem.axes)}"
    try:
        # Read, not mapped: a mapped file that another process cuts short would end this one by a signal.
        with path.open("rb") as file:
            shape, fortran, dtype = _npy_header(file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
            if dtype.kind not in "fiu" or len(shape) != 2 or shape[1] != len(problem.axes) or shape[0] < 0:
                raise PointsError(f"{path}: has shape {one_line(shape)} and type {one_line(dtype)}; {expected}")
            if size - start < shape[0] * shape[1] * dtype.itemsize:
                raise ValueError(f"{size} bytes are too few for shape {one_line(shape)}")
            for row in range(0, shape[0], BLOCK):
                z = _npy_rows(file, start, shape, fortran, dtype, row)
                _check_finite(path, z, [f"row {row + i}" for i in _first_bad(z)])
                yield z
    except PointsError:
        raise
    except (ValueError, OSError) as error:
        raise PointsError(f"{path}: not a readable .npy file ({one_line(error)}); {expected}") from None


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type, with the file at its first number.

    Raises:
        ValueError: not a header.
    """
    head = io.BytesIO(file.read(_LONGEST_HEADER))  # as many bytes as there are, whatever length the file promises
    version = np.lib.format.read_magic(head)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version}, which arrays of numbers do not need")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header of Python 2 is mended
            header = read(head)
    except Exception as error:  # NumPy reads it as a literal of Python, which fails in as many ways as there are
        raise ValueError(error) from None
    file.seek(head.tell())
    return header


def _npy_rows(
    file: BinaryIO, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype, row: int
) -> np.ndarray:
    """Rows row … row + BLOCK of the array whose numbers start there, (n, d) float64."""
    n, d = min(BLOCK, shape[0] - row), shape[1]
    runs = [((j * shape[0] + row), n) for j in range(d)] if fortran else [(row * d, n * d)]  # first number, how many
    parts = []
    for first, count in runs:
        file.seek(start + first * dtype.itemsize)
        content = file.read(count * dtype.itemsize)
        if len(content) < count * dtype.itemsize:
            raise ValueError("it was cut short while it was read")
        parts.append(np.frombuffer(content, dtype))
    with np.errstate(over="ignore"):  # a number too large for float64 is found out as infinite
        return (np.stack(parts, axis=1) if fortran else parts[0].reshape(n, d)).astype(np.float64)


def _first_bad(z: np.ndarray) -> np.ndarray:
    return np.flatnonzero(~np.isfinite(z).all(axis=1))[:1]


def _check_finite(path: Path, z: np.ndarray, places: Sequence[str]) -> None:
    for place, i in zip(places, _first_bad(z), strict=True):
        raise PointsError(f"{path}, {place}: {z[i].tolist()} is not finite; remove or mend that row")


def _csv_blocks(path: Path, problem: Problem) -> Iterator[np.ndarray]:
    d = len(problem.axes)
    columns, first = list(range(d)), True
    rows: list[list[float]] = []
    numbers: list[int] = []

    def block() -> np.ndarray:
        z = np.asarray(rows, np.float64)[:, columns]
        _check_finite(path, z, [f"line {numbers[i]}" for i in _first_bad(z)])
        rows.clear()
        numbers.clear()
        return z

    for number, cells in _csv_cells(path):
        header, first = _header(path, cells, problem) if first else None, False
        if header:
            columns = header
            continue
        if len(cells) != d:
            raise PointsError(
                f"{path}, line {number}: {len(cells)} columns; expected {d}, separated by commas: "
                f"{', '.join(problem.axes)}"
            )
        if bad := [cell for cell in cells if not _is_number(cell)]:
            raise PointsError(f"{path}, line {number}: {one_line(repr(bad[0]), 40)} is not a number; mend that cell")
        rows.append([float(cell) for cell in cells])
        numbers.append(number)
        if len(rows) == BLOCK:
            yield block()
    if rows:
        yield block()


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not blank."""
    number = 0
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise PointsError(f"{path}: cannot be read ({one_line(error)})") from None
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise PointsError(f"{path}, line {number}: longer than {LONGEST_LINE} bytes; not a file of points")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise PointsError(f"{path}, line {number}: not UTF-8 text; is it a .csv file?") from None
            if "\0" in text:
                raise PointsError(f"{path}, line {number}: holds a zero byte; is it a .csv file?")
            if text.strip():
                yield number, [cell.strip().strip('"') for cell in text.split(",")]


def _header(path: Path, cells: list[str], problem: Problem) -> list[int] | None:
    """Where each axis stands, if the line names any axis or is not made of numbers."""
    if all(map(_is_number, cells)):
        return None
    if not any(cell.isidentifier() and cell.lower() not in ("nan", "inf", "infinity") for cell in cells):
        return None  # a row with a damaged cell: reported as such
    for cell in cells:
        if cell not in problem.axes:
            raise PointsError(
                f"{path}, header: column {one_line(repr(cell), 40)} is unknown{nearest(cell[:40], problem.axes)}"
            )
    if sorted(cells) != sorted(problem.axes):
        raise PointsError(
            f"{path}, header: columns {one_line(', '.join(cells), 100)}; "
            f"expected each of {', '.join(problem.axes)} once"
        )
    return [cells.index(axis) for axis in problem.axes]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_5 as 15; in a table it is a slip
