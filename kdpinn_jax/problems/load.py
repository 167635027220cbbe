"""``load``: models from files, with the problems shipped with the library found by name."""

import os

from ..base.names import nearest, one_line
from ..models.files import ModelFileError, read_model
from ..models.model import Model
from ..pde.problem import Problem
from . import ALL


def load(path: str | os.PathLike[str], *, problem: Problem | None = None) -> Model:
    """Read a model from a file written by ``save``, in the file's precision (float32 if float64 is not enabled).

    Args:
        path: the file.
        problem: the problem that the model solves, if it is not shipped with the library. For a parametric problem, the
            problem from which it was derived is sufficient.

    Returns:
        The model.

    Raises:
        ModelFileError: the file does not exist, is not a model file, is truncated or has another format version; its
            problem is unknown; its network or domain does not fit the problem; or weights are missing, have the wrong
            shape or are not finite.
    """

    def find(name: str) -> Problem:
        if name not in ALL:
            raise ModelFileError(
                f"problem {one_line(repr(name))} is not shipped with the library{nearest(one_line(name), ALL)}; pass "
                "your own as load(path, problem=…)"
            )
        return ALL[name]

    return read_model(path, problem or find)
