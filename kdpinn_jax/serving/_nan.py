"""Makes every output of a program NaN where a coordinate is NaN."""

from collections.abc import Sequence

import numpy as np

from .build import ProgramBuilder, Scalar
from .program import Element, Node, Whole

#: Operations whose result may be a number if an argument is NaN, in JAX or in one of the backends.
_STOPS = frozenset({"sign", "pow"})


def with_nan(builder: ProgramBuilder, outputs: Sequence[Scalar]) -> list[Scalar]:
    """The outputs, each NaN where any coordinate of the point is NaN.

    Almost all operations pass on NaN, so that most programs are left as they are. A condition is added where an output
    is constant along a coordinate, or depends on it only through comparisons.

    Args:
        builder: contains the nodes of the outputs.
        outputs: elements and constants.
    """
    passed: list[list[int]] = []  # for each lane of each node, the coordinates whose NaN it passes on, as bits
    for node in builder.nodes:
        passed.append(_passed(node, passed))
    inputs = builder.nodes[0].width
    result = []
    for output in outputs:
        through = passed[output.node][output.lane] if isinstance(output, Element) else 0
        missing = [builder.point[i] for i in range(inputs) if not through >> i & 1]
        for coordinate in missing:
            output = builder.number("select_n", [builder.number("ne", [coordinate, coordinate]), output, np.nan])
        result.append(output)
    return result


def _passed(node: Node, earlier: Sequence[Sequence[int]]) -> list[int]:
    """The coordinates, as bits, whose NaN each lane of a node passes on."""
    lanes = range(node.width)
    if node.operation == "input":
        return [1 << i for i in lanes]
    if node.boolean or node.operation in _STOPS:
        return [0 for _ in lanes]
    if node.operation == "stack":
        return [earlier[a.node][a.lane] if isinstance(a, Element) else 0 for a in node.arguments]
    arguments = [
        earlier[a.node] if isinstance(a, Whole) else [earlier[a.node][a.lane]] if isinstance(a, Element) else [0]
        for a in node.arguments
    ]
    if node.operation == "dot":
        everything = 0
        for bits in arguments[0]:
            everything |= bits
        return [everything for _ in lanes]
    full = [bits * node.width if len(bits) == 1 else bits for bits in map(list, arguments)]
    if node.operation == "select_n":
        return [a & b for a, b in zip(full[1], full[2], strict=True)]
    union = [0] * node.width
    for bits in full:
        union = [a | b for a, b in zip(union, bits, strict=True)]
    return union
