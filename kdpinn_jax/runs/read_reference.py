"""Reference values from a file: a table of points and fields, or the mesh of a finite-element program."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..base.optional import optional_package
from ..base.tables.columns import find_columns
from ..base.tables.read_table import read_table
from ..base.tables.table import TableError
from ..pde.problem import Problem
from ..pde.reference_at import PointReference, reference_at

#: The extensions of meshes, which meshio reads.
MESHES = (".vtk", ".vtu", ".xdmf", ".msh")


class ReadReference(NamedTuple):
    """Reference values in a file.

    Attributes:
        reference: the points and values.
        notes: what the user should know about how the file was understood.
    """

    reference: PointReference
    notes: tuple[str, ...]


def read_reference(
    path: str | os.PathLike[str], problem: Problem, columns: Sequence[str] | None = None
) -> ReadReference:
    """The reference values in a file.

    Args:
        path: a table that ``read_table`` reads, with columns for all axes and fields, or a mesh (VTK, XDMF, Gmsh) whose
            point data have the names of the fields.
        problem: supplies the names of axes and fields.
        columns: of a table, the names or numbers (from 1) of the columns of axes and fields, in this order; default
            by the header, or without one, in the order of the columns.

    Raises:
        TableError: the file cannot be read, a quantity is missing, or no row has all values.
        ImportError: meshio, of the extra ``geometry``, is not installed.
    """
    read = _from_mesh if Path(path).suffix.lower() in MESHES else _from_table
    z, values, notes = read(path, problem, columns)
    try:
        return ReadReference(reference_at(z, values), notes)
    except ValueError as error:
        raise TableError(f"{path}: {str(error).removeprefix('reference_at: ')}") from None


def _from_table(
    path: str | os.PathLike[str], problem: Problem, columns: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    table = read_table(path)
    indices, note = find_columns(table, (*problem.axes, *problem.fields), (), columns)
    rows = np.concatenate([values for values, _ in table.blocks(indices)])
    d = len(problem.axes)
    return rows[:, :d], rows[:, d:], tuple(filter(None, (table.note, note)))


def _from_mesh(
    path: str | os.PathLike[str], problem: Problem, columns: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    if columns is not None:
        raise TableError(f"{path}: --columns selects columns of a table; a mesh has fields with names")
    if not os.path.isfile(path):
        raise TableError(f"{path}: no such file")
    meshio = optional_package("meshio", f"reading {Path(path).name}")
    try:
        mesh = meshio.read(path)
    except (Exception, SystemExit) as error:  # meshio ends the process in some cases
        raise TableError(f"{path}: meshio cannot read this mesh ({type(error).__name__}: {error})") from None
    if missing := [field for field in problem.fields if field not in mesh.point_data]:
        known = ", ".join(mesh.point_data) or "none"
        raise TableError(f"{path}: the mesh has no point data named {', '.join(missing)}; its point data are: {known}")
    d = len(problem.axes)
    if mesh.points.shape[1] < d:
        raise TableError(f"{path}: the mesh has {mesh.points.shape[1]} coordinates; expected {', '.join(problem.axes)}")
    values = np.stack([np.asarray(mesh.point_data[field], float).reshape(-1) for field in problem.fields], axis=1)
    return mesh.points[:, :d], values, ()
