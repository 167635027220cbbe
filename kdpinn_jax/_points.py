"""Prediction from a file of points to a file of values, block by block: memory does not grow with the file."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.typing import DTypeLike

from ._files import atomic
from ._model import Model
from ._names import nearest
from ._predict import compile_predict
from ._problem import Problem

#: Rows read, predicted and written at a time.
BLOCK = 65_536
#: A line this long is not a row of numbers, and is not read to its end.
LONGEST_LINE = 1_000_000


class PointsError(ValueError):
    """A file of points that cannot be used; the message names the file, the place, what came and what was expected."""


class Predicted(NamedTuple):
    """How many points were predicted, and how many of them lie outside the problem's domain."""

    points: int
    outside: int


def predict_file(
    model: Model, points: str | os.PathLike[str], out: str | os.PathLike[str], *, dtype: DTypeLike = "float32"
) -> Predicted:
    """Predict the points of one file into another, written whole or not at all.

    Args:
        model: what predicts.
        points: ``*.csv`` (comma separated, UTF-8; a first line with the axes' names may put the columns in any order)
            or ``*.npy`` ((n, d), real numbers). Columns as ``problem.axes``.
        out: ``*.csv`` with a header, or ``*.npy`` in float64: the d coordinates and, behind them, the m fields.
        dtype: precision of the arithmetic, float32 or float64.

    Raises:
        PointsError: an unknown ending, an unreadable or empty file, a wrong number of columns, a cell that is not a
            finite number.
        OSError: the output cannot be written.
    """
    points, out, problem = Path(points), Path(out), model.problem
    for path in (points, out):
        if path.suffix.lower() not in (".csv", ".npy"):
            raise PointsError(f"{path}: the ending {path.suffix!r} is unknown; use .csv or .npy")
    if out.exists() and points.exists() and out.samefile(points):
        raise PointsError(f"{out}: is also the file of points; name another file to write")
    if not points.is_file():
        raise PointsError(f"{points}: no such file; give a .csv or .npy file with columns {', '.join(problem.axes)}")
    blocks = _csv_blocks(points, problem) if points.suffix.lower() == ".csv" else _npy_blocks(points, problem)
    predict = compile_predict(model, dtype=dtype)
    lower, upper = np.asarray(problem.lower), np.asarray(problem.upper)
    slack = 1e-12 * (upper - lower)  # a point computed as the domain's end may miss it by rounding
    count = outside = 0
    with atomic(out) as temporary, temporary.open("wb") as file:
        writer = _CsvWriter(file, problem, dtype) if out.suffix.lower() == ".csv" else _NpyWriter(file, problem)
        for z in blocks:
            values = predict(z.astype(dtype))
            writer.write(z, values)
            count += len(z)
            outside += int(np.any((z < lower - slack) | (z > upper + slack), axis=1).sum())
        if not count:
            raise PointsError(f"{points}: holds no points; give at least one row")
        writer.close(count)
    return Predicted(count, outside)


def _npy_blocks(path: Path, problem: Problem) -> Iterator[np.ndarray]:
    expected = f"expected an array (n, {len(problem.axes)}) of real numbers with columns {', '.join(problem.axes)}"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError, MemoryError) as error:
        raise PointsError(f"{path}: not a readable .npy file ({' '.join(str(error).split())}); {expected}") from None
    if not isinstance(array, np.ndarray):
        raise PointsError(f"{path}: an archive of arrays; {expected}")
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != len(problem.axes):
        raise PointsError(f"{path}: has shape {array.shape} and type {array.dtype}; {expected}")
    for start in range(0, len(array), BLOCK):
        z = np.asarray(array[start : start + BLOCK], np.float64)
        _check_finite(path, z, [f"row {start + i}" for i in _first_bad(z)])
        yield z


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
            raise PointsError(f"{path}, line {number}: {bad[0][:40]!r} is not a number; mend that cell")
        rows.append([float(cell) for cell in cells])
        numbers.append(number)
        if len(rows) == BLOCK:
            yield block()
    if rows:
        yield block()


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not blank."""
    number = 0
    with path.open("rb") as file:
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
            raise PointsError(f"{path}, header: column {cell[:40]!r} is unknown{nearest(cell, problem.axes)}")
    if sorted(cells) != sorted(problem.axes):
        raise PointsError(
            f"{path}, header: columns {', '.join(cells)}; expected each of {', '.join(problem.axes)} once"
        )
    return [cells.index(axis) for axis in problem.axes]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_5 as 15; in a table it is a slip


class _CsvWriter:
    def __init__(self, file: Any, problem: Problem, dtype: DTypeLike) -> None:
        self._file = file
        self._digits = 9 if np.dtype(dtype) == np.float32 else 17  # enough to read back the same number
        file.write((",".join((*problem.axes, *problem.fields)) + "\r\n").encode())

    def write(self, z: np.ndarray, values: np.ndarray) -> None:
        coordinates = [",".join(map(repr, row)) for row in z.tolist()]
        numbers = [",".join(f"{value:.{self._digits}g}" for value in row) for row in values.tolist()]
        self._file.write("".join(f"{a},{b}\r\n" for a, b in zip(coordinates, numbers, strict=True)).encode())

    def close(self, count: int) -> None:
        pass


class _NpyWriter:
    """A .npy file written in order; its header, of fixed length, gets the number of rows at the end."""

    def __init__(self, file: Any, problem: Problem) -> None:
        self._file, self._columns = file, len(problem.axes) + len(problem.fields)
        self._write_header(2**62)

    def _write_header(self, count: int) -> None:
        shape = f"({count}, {self._columns})"
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
        self._file.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n")

    def write(self, z: np.ndarray, values: np.ndarray) -> None:
        self._file.write(np.concatenate([z, values], axis=1).astype("<f8").tobytes())

    def close(self, count: int) -> None:
        self._file.seek(0)
        self._write_header(count)
