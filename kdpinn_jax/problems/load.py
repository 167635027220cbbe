"""``load``: models from files, with the problems shipped with the library found by name."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from ..base.names import nearest, one_line
from ..models.files import ModelFileError, read_model
from ..models.model import Model
from ..models.source import find_source, suggestion
from ..pde.problem import Problem
from . import ALL


def load(path: str | os.PathLike[str], *, problem: Problem | None = None) -> Model:
    """Read a model from a file written by ``save``, in the file's precision (float32 if float64 is not enabled).

    Args:
        path: the file.
        problem: the problem that the model solves, if it is not shipped with the library. For a parametric problem, and
            for one with soft conditions, the problem from which it was derived is sufficient.

    Returns:
        The model.

    Raises:
        ModelFileError: the file does not exist, is not a model file, is truncated or has another format version; its
            problem is unknown; its network or domain does not fit the problem; or weights are missing, have the wrong
            shape or are not finite.
    """

    def advice(source: Any) -> str:
        origin = "" if source is None else f" (it was {suggestion(source)})"
        return f"{origin}; pass your own as load(path, problem=…)"

    return read_model(path, problem or _finder((), advice))


def load_among(path: str | os.PathLike[str], problems: Sequence[Problem]) -> Model:
    """``load`` for the command line: the problem is one of those that ``--problem`` gave, or a shipped one.

    Args:
        path: the file.
        problems: problems of the user's own, found by their names.

    Raises:
        ModelFileError: as ``load``; the message about an unknown problem names the option to give.
    """

    def advice(source: Any) -> str:
        names = ", ".join(one_line(repr(problem.name)) for problem in problems)
        return f"{f'; --problem gave {names}' if names else ''}; give the option --problem {suggestion(source)}"

    return read_model(path, _finder(problems, advice))


def _finder(problems: Sequence[Problem], advice: Callable[[Any], str]) -> Callable[[Any, Any], Problem]:
    """``(name, source) -> problem``: one of the problems, or a shipped one; ``advice(source)`` ends the message."""

    def find(name: Any, source: Any) -> Problem:
        for problem in problems:
            if problem.name == name:
                return problem
        if name in ALL and source is None:
            return ALL[name]
        raise ModelFileError(f"{_not_shipped(name, source)}{advice(source)}")

    return find


def _not_shipped(name: Any, source: Any) -> str:
    shown = one_line(repr(name))
    if name in ALL:
        return f"problem {shown} is the user's own and not the one that is shipped with the library"
    return f"problem {shown} is not shipped with the library{nearest(one_line(name), ALL) if source is None else ''}"


def is_shipped(problem: Problem) -> bool:
    """Whether another process finds this problem by its name alone."""
    return problem.name in ALL and find_source(problem) is None
