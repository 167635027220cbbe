"""A straight-line program: the form in which a model is compiled for prediction and exported.

It has two kinds of nodes: numbers, each computed by one operation, and vectors, which remain loops: the layers of the
network. ``trace`` builds a program, and ``lower`` translates it into the terms of a backend.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: Functions of libm, which not every compiler vectorises.
LIBRARY_CALLS = frozenset(
    {"acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "erf", "erfc", "exp", "exp2"}
    | {"expm1", "log", "log1p", "pow", "rem", "sin", "sinh", "tan"}
)
_BOOLEAN = frozenset({"and", "eq", "ge", "gt", "le", "lt", "ne", "not", "or", "xor"})
#: Operations on single numbers, under the names of JAX's primitives; rint rounds half to even, round away from zero.
POINTWISE = LIBRARY_CALLS | _BOOLEAN | {"abs", "add", "ceil", "div", "floor", "logistic", "max", "min", "mul", "neg"}
POINTWISE |= {"rint", "round", "select_n", "sign", "sqrt", "sub", "tanh"}
#: Operations that have another name in ``jax.lax``.
LAX_NAMES = {"and": "bitwise_and", "not": "bitwise_not", "or": "bitwise_or", "xor": "bitwise_xor"}


class Element(NamedTuple):
    """One number of a node."""

    node: int
    lane: int


class Whole(NamedTuple):
    """All numbers of a vector node, lane by lane."""

    node: int


#: The argument of a node. A node of width 1 takes elements and constants; a vector node also takes other vectors, and
#: constant vectors as tuples.
Argument = Element | Whole | float | bool | tuple[float, ...]


@dataclass(frozen=True)
class Node:
    """One operation, applied in each lane of the node.

    Attributes:
        operation: a name in ``POINTWISE``, or ``input`` (no arguments), ``stack`` (gathers its arguments into a vector)
            or ``dot`` (argument @ matrix + bias).
        width: the number of lanes.
        arguments: earlier nodes and constants.
        matrix: (inputs, outputs), for ``dot`` only.
        bias: (outputs,), for ``dot`` only; None for zero.
    """

    operation: str
    width: int
    arguments: tuple[Argument, ...] = ()
    matrix: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def vector(self) -> bool:
        """Whether the node is a vector, possibly with a single lane."""
        return self.width > 1 or self.operation in ("input", "stack", "dot")

    @property
    def boolean(self) -> bool:
        """Whether the values are conditions, not numbers."""
        return self.operation in _BOOLEAN


@dataclass(frozen=True)
class Program:
    """The nodes in the order of evaluation, and the numbers that are returned.

    Attributes:
        nodes: the first is the input (d,); arguments refer to earlier nodes.
        outputs: elements of nodes, and constants.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Element | float, ...]
