"""Where a problem of the user's own is defined, as a model file remembers it. It is a hint for the reader of a message.

Nothing is executed: the path comes from a file that anyone may have written.
"""

import dataclasses
import functools
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from ..base.names import one_line
from ..base.problem_file import ProblemFile
from ..pde.problem import Problem

_LIBRARY = __name__.partition(".")[0]


def find_source(problem: Problem) -> ProblemFile | None:
    """The file and the name of a problem that a module of the user's defines; None if it is not found.

    A problem with other conditions or a range is found by the problem from which it was derived, which has the same
    name. One that consists of a shipped problem's functions is not the user's, under whatever name the user's modules
    know it.

    Args:
        problem: any problem.
    """
    candidates = list(_problems_named(problem.name))
    own = [candidate for candidate in candidates if not _is_library(candidate[0].__name__)]
    functions = _functions(problem)
    if not own or (len(own) < len(candidates) and all(_is_library(function.__module__) for function in functions)):
        return None

    def likeness(candidate: tuple[ModuleType, str, Problem]) -> tuple[bool, int, bool]:
        module, _, other = candidate
        # A script that imports the problem knows it too. Its own module is not the main program.
        return other is problem, len(functions & _functions(other)), module.__name__ != "__main__"

    module, name, _ = max(own, key=likeness)
    return ProblemFile(os.path.abspath(str(module.__file__)), name)


def _is_library(module: str | None) -> bool:
    return str(module).partition(".")[0] == _LIBRARY


def _functions(problem: Problem) -> set[FunctionType]:
    """The functions that were written for a problem, without the objects that wrap them."""
    found: set[FunctionType] = set()
    remaining: list[Any] = [problem.ansatz, problem.embed, problem.inside, *problem.terms.values()]
    while remaining:
        value = remaining.pop()
        if isinstance(value, FunctionType):
            found.add(value)
        elif isinstance(value, functools.partial):  # so is jax.tree_util.Partial
            remaining += [value.func, *value.args, *value.keywords.values()]
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            remaining += [getattr(value, field.name) for field in dataclasses.fields(value)]
        elif isinstance(value, tuple | list):
            remaining += value
    return found


def _problems_named(name: str) -> Iterator[tuple[ModuleType, str, Problem]]:
    """The problems of that name among the variables of all modules that have a file."""
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and getattr(module, "__file__", None):
            for variable, value in list(vars(module).items()):
                if isinstance(value, Problem) and value.name == name:
                    yield module, variable, value


def describe_source(problem: Problem) -> dict[str, str | None] | None:
    """The source of a problem for the header of a model file: ``{"file", "absolute", "name"}``, or None.

    Args:
        problem: any problem.
    """
    source = find_source(problem)
    if source is None:
        return None
    return {"file": _shown(source.file), "absolute": source.path, "name": source.name}


def suggestion(source: Any) -> str:
    """``FILE.py:NAME`` for a message, from the content of a header; a placeholder if it says nothing.

    Args:
        source: what ``describe_source`` returned, or anything else.
    """
    if not isinstance(source, dict) or not all(
        isinstance(source.get(key), str) for key in ("file", "absolute", "name")
    ):
        return "FILE.py:NAME"
    absolute = Path(source["absolute"])
    path = _shown(absolute) if os.path.isfile(absolute) else source["file"]
    return one_line(shlex.quote(f"{path}:{source['name']}"))


def _shown(path: Path) -> str:
    """The path relative to the working folder if it lies below it."""
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
