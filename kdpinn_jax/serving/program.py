"""A straight-line program: what a model is compiled for prediction from, and exported from.

Two kinds of nodes: numbers, one operation each, and vectors, the layers of the network, which keep their loops.
``_trace`` makes it, ``_interpret`` says it in other words.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: Functions of libm that not every compiler vectorises.
LIBRARY_CALLS = frozenset(
    {"acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "erf", "erfc", "exp", "exp2"}
    | {"expm1", "log", "log1p", "pow", "sin", "sinh", "tan"}
)
_BOOLEAN = frozenset({"and", "eq", "ge", "gt", "le", "lt", "ne", "not", "or", "xor"})
#: Operations of one number, by the names of JAX's primitives; rint is a round to even.
POINTWISE = LIBRARY_CALLS | _BOOLEAN | {"abs", "add", "ceil", "div", "floor", "logistic", "max", "min", "mul", "neg"}
POINTWISE |= {"rint", "round", "select_n", "sign", "sqrt", "sub", "tanh"}
#: Those that ``jax.lax`` calls by other names.
LAX_NAMES = {"and": "bitwise_and", "not": "bitwise_not", "or": "bitwise_or", "xor": "bitwise_xor"}


class Element(NamedTuple):
    """One number of a node."""

    node: int
    lane: int


class Whole(NamedTuple):
    """All numbers of a vector node, lane for lane."""

    node: int


#: Of a node of width 1: elements and numbers. Of a vector: also vectors, and constant vectors as tuples.
Argument = Element | Whole | float | bool | tuple[float, ...]


@dataclass(frozen=True)
class Node:
    """``operation`` applied to ``arguments`` in each of ``width`` lanes; ``input`` has none, ``stack`` gathers its
    arguments into a vector, and ``dot`` is argument @ matrix (+ bias)."""

    operation: str
    width: int
    arguments: tuple[Argument, ...] = ()
    matrix: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def vector(self) -> bool:
        """Whether it has lanes, if only one."""
        return self.width > 1 or self.operation in ("input", "stack", "dot")

    @property
    def boolean(self) -> bool:
        return self.operation in _BOOLEAN


@dataclass(frozen=True)
class Program:
    """Nodes in the order of evaluation, the first being the input (d,); and the numbers returned, in their order."""

    nodes: tuple[Node, ...]
    outputs: tuple[Element | float, ...]
