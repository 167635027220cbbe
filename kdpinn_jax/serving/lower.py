"""A program (``_program``) said in the words of an array library or a file format, many points at once."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .program import Argument, Element, Program, Whole


@runtime_checkable  # the tests check argument types while they run
class Backend(Protocol):
    """What can say a program's nodes. Numbers and vectors of n points are values of two axes, one of them the points,
    and numbers have length 1 along the other: broadcasting does the rest."""

    def input(self) -> Any:
        """The points, a vector of d lanes."""
        ...

    def constant(self, value: float | bool) -> Any:
        """The same number at every point."""
        ...

    def constants(self, values: tuple[float, ...]) -> Any:
        """The same vector at every point."""
        ...

    def lane(self, vector: Any, lane: int) -> Any:
        """One number of a vector."""
        ...

    def stack(self, numbers: Sequence[Any]) -> Any:
        """Numbers, constants among them, as a vector."""
        ...

    def dot(self, vector: Any, matrix: np.ndarray, bias: np.ndarray | None) -> Any:
        """vector @ matrix (+ bias)."""
        ...

    def apply(self, operation: str, arguments: Sequence[Any]) -> Any:
        """An operation of ``_program.POINTWISE``."""
        ...


def lower(program: Program, backend: Backend) -> list[Any]:
    """The program's outputs, each a number or a constant."""
    values: list[Any] = []
    lanes: dict[Element, Any] = {}

    def emit(a: Argument) -> Any:
        if isinstance(a, Whole):
            return values[a.node]
        if isinstance(a, Element):
            if not program.nodes[a.node].vector:
                return values[a.node]
            if a not in lanes:
                lanes[a] = backend.lane(values[a.node], a.lane)
            return lanes[a]
        return backend.constants(a) if isinstance(a, tuple) else backend.constant(a)

    for node in program.nodes:
        arguments = [emit(a) for a in node.arguments]
        if node.operation == "input":
            values.append(backend.input())
        elif node.operation == "stack":
            values.append(backend.stack(arguments))
        elif node.operation == "dot":
            assert node.matrix is not None
            values.append(backend.dot(arguments[0], node.matrix, node.bias))
        else:
            values.append(backend.apply(node.operation, arguments))
    return [emit(output) for output in program.outputs]
