"""The names that an option may use, read without importing JAX, so that a mistake is reported immediately."""

import ast
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..pde.problem import Problem

_PROBLEMS = Path(__file__).parent.parent / "problems"


class Outline(NamedTuple):
    """The names of a problem.

    Attributes:
        name: the problem's name.
        terms: the names of all its terms.
        enforced: the terms that the ansatz satisfies; empty with soft conditions.
        coefficients: the coefficients that are not inputs of the network.
        family: the coefficients that are inputs of a parametric model.
    """

    name: str
    terms: tuple[str, ...]
    enforced: tuple[str, ...]
    coefficients: tuple[str, ...]
    family: tuple[str, ...] = ()

    def with_conditions(self, conditions: str | None) -> "Outline":
        """The outline with soft or hard conditions; None leaves it unchanged."""
        return self._replace(enforced=()) if conditions == "soft" else self

    def parametric(self, names: tuple[str, ...]) -> "Outline":
        """The outline with these coefficients as inputs."""
        coefficients = tuple(name for name in self.coefficients if name not in names)
        return self._replace(coefficients=coefficients, family=(*self.family, *names))

    def weights(self, student: bool) -> tuple[str, ...]:
        """The terms that have a weight; only a student has soft targets."""
        return (*(name for name in self.terms if name not in self.enforced), *(["soft_target"] if student else []))


@functools.cache
def shipped_outlines() -> Mapping[str, Outline]:
    """``{problem: outline}`` for the problems shipped with the library, in the order of their file names.

    The names are read from the source of the problems.
    """
    outlines = {}
    for path in sorted(_PROBLEMS.glob("[a-z]*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                arguments = {keyword.arg: keyword.value for keyword in node.keywords}
                outline = Outline(
                    ast.literal_eval(arguments["name"]),
                    _keys(arguments["terms"]),
                    ast.literal_eval(arguments["enforced"]) if "enforced" in arguments else (),
                    _keys(arguments["coefficients"]),
                )
                outlines[outline.name] = outline
    return outlines


def outline_of(problem: "Problem") -> Outline:
    """The outline of a problem that has been loaded."""
    return Outline(
        problem.name, tuple(problem.terms), problem.enforced, tuple(problem.coefficients), tuple(problem.family)
    )


def _keys(node: ast.expr) -> tuple[str, ...]:
    assert isinstance(node, ast.Dict)
    return tuple(ast.literal_eval(key) for key in node.keys if key is not None)


def read_outline(path: Path) -> Outline | None:
    """The outline of the problem that a model file solves; None if the file must be loaded to determine it."""
    from ..base.storage import read_metadata  # imports NumPy and safetensors, which only some commands need

    if not os.path.isfile(path):  # reading a pipe would wait for a writer
        return None
    try:
        header = json.loads(read_metadata(path)["kdpinn_jax"])
        if header.get("source") is not None:  # a problem of the user's own
            return None
        outline = shipped_outlines()[header["problem"]].with_conditions(header["conditions"])
        return outline.parametric(tuple(header.get("family", ())))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
        return None
