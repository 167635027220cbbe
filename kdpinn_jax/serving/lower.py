"""Translates a program into the terms of an array library or a file format, for many points at once."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from .program import Argument, Element, Program, Whole

_Value = TypeVar("_Value")


@runtime_checkable  # the tests check argument types at run time
class Backend(Protocol[_Value]):
    """The operations that a backend provides for the nodes of a program.

    The values of numbers and vectors at n points have two axes, one of which is the points. Numbers have length 1 along
    the other axis, so that they broadcast against vectors.
    """

    def input(self) -> _Value:
        """The points, a vector of d lanes."""
        ...

    def constant(self, value: float | bool) -> _Value:
        """The same number at every point."""
        ...

    def constants(self, values: tuple[float, ...]) -> _Value:
        """The same vector at every point."""
        ...

    def lane(self, vector: _Value, lane: int) -> _Value:
        """One number of a vector."""
        ...

    def stack(self, numbers: Sequence[_Value]) -> _Value:
        """A vector of the given numbers, some of which may be constants."""
        ...

    def dot(self, vector: _Value, matrix: np.ndarray, bias: np.ndarray | None) -> _Value:
        """vector @ matrix + bias; None for zero bias."""
        ...

    def apply(self, operation: str, arguments: Sequence[_Value]) -> _Value:
        """An operation in ``POINTWISE``."""
        ...


def lower(program: Program, backend: Backend[_Value]) -> list[_Value]:
    """The program's outputs as values of the backend, each a number or a constant."""
    values: list[_Value] = []
    lanes: dict[Element, _Value] = {}

    def value_of(argument: Argument) -> _Value:
        if isinstance(argument, Whole):
            return values[argument.node]
        if isinstance(argument, Element):
            if not program.nodes[argument.node].vector:
                return values[argument.node]
            if argument not in lanes:
                lanes[argument] = backend.lane(values[argument.node], argument.lane)
            return lanes[argument]
        return backend.constants(argument) if isinstance(argument, tuple) else backend.constant(argument)

    for node in program.nodes:
        arguments = [value_of(argument) for argument in node.arguments]
        if node.operation == "input":
            values.append(backend.input())
        elif node.operation == "stack":
            values.append(backend.stack(arguments))
        elif node.operation == "dot":
            assert node.matrix is not None
            values.append(backend.dot(arguments[0], node.matrix, node.bias))
        else:
            values.append(backend.apply(node.operation, arguments))
    return [value_of(output) for output in program.outputs]
