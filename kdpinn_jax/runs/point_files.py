"""Prediction from a file of points to a file of values, block by block, so that memory does not grow with the file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jax.typing import DTypeLike

from ..base.storage import atomic
from ..base.tables.table import TableError
from ..models.model import Model
from ..pde.inside import holds
from ..pde.problem import Problem
from ..serving.predict import compile_predict
from .read_points import read_points

#: The extensions of the files that can be written.
OUTPUTS = (".csv", ".npy")


class PredictedFile(NamedTuple):
    """What was predicted.

    Attributes:
        points: the number of points.
        outside: how many of them lie outside the problem's domain.
        notes: what the user should know about how the file of points was understood.
    """

    points: int
    outside: int
    notes: tuple[str, ...]


def predict_file(
    model: Model,
    points: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    dtype: DTypeLike = "float32",
) -> PredictedFile:
    """Read points from one file and write them with the predicted fields to another, atomically and row by row.

    Args:
        model: the model.
        points: a text file or a ``.npy`` file, as in ``read_points``.
        out: ``*.csv`` with a header, or ``*.npy`` in float64: the d coordinates followed by the m fields.
        columns: the columns of the axes in ``points``, as in ``read_points``.
        dtype: the precision of the arithmetic, float32 or float64.

    Raises:
        TableError: as in ``read_points``; or ``out`` has an unknown extension or is the input file; or a coordinate is
            too large for ``dtype``.
        OSError: the output cannot be written.
    """
    points, out, problem = Path(points), Path(out), model.problem
    if out.suffix.lower() not in OUTPUTS:
        raise TableError(f"{out}: unknown file extension {out.suffix!r}; use {' or '.join(OUTPUTS)}")
    if os.path.exists(out) and os.path.exists(points) and out.samefile(points):
        raise TableError(f"{out} is also the input file; choose another output file")
    blocks, notes = read_points(points, problem, columns)
    predict = compile_predict(model, dtype=dtype)
    lower, upper = np.asarray(problem.lower), np.asarray(problem.upper)
    slack = 1e-12 * (upper - lower)  # a point computed at an end of the domain may miss it by a rounding error
    count = outside = 0
    with atomic(out) as temporary, temporary.open("wb") as file:
        writer = _CsvWriter(file, problem, dtype) if out.suffix.lower() == ".csv" else _NpyWriter(file, problem)
        for z in blocks:
            if (largest := np.abs(z).max()) > np.finfo(dtype).max:
                raise TableError(
                    f"{points}: a coordinate of magnitude {largest:.3g} is too large for {np.dtype(dtype)}; use "
                    "float64 or fix that coordinate"
                )
            values = predict(z.astype(dtype))
            writer.write(z, values)
            count += len(z)
            beyond = np.any((z < lower - slack) | (z > upper + slack), axis=1)
            outside += int(np.sum(beyond | ~holds(problem.inside, z[:, : problem.coordinates])))
        writer.close(count)
    return PredictedFile(count, outside, notes)


class _CsvWriter:
    def __init__(self, file: BinaryIO, problem: Problem, dtype: DTypeLike) -> None:
        self._file = file
        self._digits = 9 if np.dtype(dtype) == np.float32 else 17  # enough to read back the same number
        file.write((",".join((*problem.axes, *problem.fields)) + "\r\n").encode())

    def write(self, z: np.ndarray, values: np.ndarray) -> None:
        coordinates = [",".join(map(repr, row)) for row in z.tolist()]
        fields = [",".join(f"{value:.{self._digits}g}" for value in row) for row in values.tolist()]
        self._file.write("".join(f"{a},{b}\r\n" for a, b in zip(coordinates, fields, strict=True)).encode())

    def close(self, count: int) -> None:
        pass


class _NpyWriter:
    """Writes a .npy file block by block. Its header has a fixed length and receives the number of rows at the end."""

    def __init__(self, file: BinaryIO, problem: Problem) -> None:
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
