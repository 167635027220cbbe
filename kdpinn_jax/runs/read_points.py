"""Points from a file, checked and read block by block, so that memory does not grow with the file."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..base.tables.columns import find_columns
from ..base.tables.read_table import read_table
from ..base.tables.table import Table, TableError
from ..pde.problem import Problem


class PointBlocks(NamedTuple):
    """Points in a file.

    Attributes:
        blocks: float64 arrays of shape (up to ``BLOCK``, d), with ``problem.axes`` as columns; one row per row of the
            file.
        notes: what the user should know about how the file was understood.
    """

    blocks: Iterator[np.ndarray]
    notes: tuple[str, ...]


def read_points(path: str | os.PathLike[str], problem: Problem, columns: Sequence[str] | None = None) -> PointBlocks:
    """The points in a file.

    Args:
        path: a file that ``read_table`` reads.
        problem: the problem, whose axes are found in the file.
        columns: the names or numbers (from 1) of the columns of the axes, in their order; None finds them by the header
            or, without one, takes the columns in the order of the axes.

    Raises:
        TableError: the file cannot be read, the columns are not determined, or a row is not one of finite numbers. An
            error in a row is raised when its block is read.
    """
    table = read_table(path)
    indices, note = find_columns(table, problem.axes, problem.fields, columns)
    return PointBlocks(_finite_blocks(table, indices), tuple(filter(None, (table.note, note))))


def _finite_blocks(table: Table, columns: Sequence[int]) -> Iterator[np.ndarray]:
    for values, place in table.blocks(columns):
        for i in np.flatnonzero(~np.isfinite(values).all(axis=1))[:1]:
            raise TableError(f"{place(int(i))}: a coordinate is not finite; remove or fix that row")
        yield values
