"""A program as the body of a C function, for one point or for a block of points.

At one point, the lanes of a vector are adjacent in memory. In a block, the values of one lane at all points are
adjacent. Either way compilers turn the inner loops into vector instructions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..program import Argument, Element, Node, Program, Whole
from ._schedule import Loop, buffers, schedule, stored

#: Points per block. 64 floats are four registers of 512 bits: enough independent sums to hide the latency of a
#: multiply-add with one output neuron at a time, while several output neurons share what is loaded.
BLOCK = 64

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_INFIX |= {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "and": "&&", "or": "||", "xor": "!="}
#: max and min are conditionals, which compilers turn into vector instructions; fmax of libm would remain a call.
_FORMS = {
    "not": "(!{0})",
    "neg": "(-{0})",
    "select_n": "({0} ? {2} : {1})",
    "max": "({0} > {1} ? {0} : {1})",
    "min": "({0} < {1} ? {0} : {1})",
    "sign": "({0} > 0 ? {R}(1.0) : {0} < 0 ? {R}(-1.0) : {0})",
    "tanh": "{tanh}({0})",
    "logistic": "({R}(0.5) + {R}(0.5) * {tanh}({R}(0.5) * {0}))",
}
#: Operations that have another name in libm.
_LIBM = {"abs": "fabs", "rem": "fmod"}


@dataclass
class Constants:
    """The constant arrays of a file. Functions share them, so that each is written once.

    Attributes:
        prefix: the prefix of their names.
        names: by content.
        declarations: in C.
    """

    prefix: str
    names: dict[bytes, str] = field(default_factory=dict)
    declarations: list[str] = field(default_factory=list)

    def name(self, values: np.ndarray, kind: str) -> str:
        """The name of the array with these values, which is declared if it is new."""
        values = np.ascontiguousarray(values, np.float64).reshape(-1)
        key = values.tobytes()
        if key not in self.names:
            self.names[key] = f"{self.prefix}_{kind}{len(self.names)}"
            body = wrapped([number(self.prefix, float(value)) for value in values])
            self.declarations.append(
                f"static const {self.prefix}_real {self.names[key]}[{len(values)}] = {{\n{body}\n}};"
            )
        return self.names[key]


def wrapped(items: Sequence[str], width: int = 110) -> str:
    """A comma-separated list, wrapped into lines."""
    lines, line = [], "   "
    for i, item in enumerate(items):
        item += "," if i < len(items) - 1 else ""
        if len(line) + len(item) + 1 > width:
            lines.append(line)
            line = "   "
        line += " " + item
    return "\n".join([*lines, line])


def number(prefix: str, value: float) -> str:
    """A literal of the file's floating-point type. A value beyond the range of float is cast, as in a NumPy array."""
    if math.isnan(value) or math.isinf(value):
        return f"({prefix}_real)({'NAN' if math.isnan(value) else 'HUGE_VAL' if value > 0 else '-HUGE_VAL'})"
    text = repr(float(value))
    if value and not 1e-37 < abs(value) < 3e38:
        return f"({prefix}_real)({text})"
    return f"{prefix.upper()}_R({text if '.' in text or 'e' in text else text + '.0'})"


class Function:
    """Writes the body of one function.

    In a function of one point, a number is a local constant ``s``. In a function of a block, it is a constant ``t`` of
    its loop, and also an array ``s`` if a later loop reads it. Vectors are arrays ``v``.

    Args:
        program: what the function computes.
        constants: collects the arrays that it reads.
        block: whether it computes BLOCK points instead of one.
    """

    def __init__(self, program: Program, constants: Constants, *, block: bool) -> None:
        self.program, self.constants, self.block = program, constants, block
        self.prefix = constants.prefix
        self.steps = schedule(program)
        self.kept = stored(program, self.steps)
        self.buffer_of = buffers(program, self.steps, self.kept)
        self.local_names: dict[int, str] = {}  # by node, within the loop that is being written

    def text(self, results: Sequence[tuple[str, int]]) -> str:
        """The body, which reads ``z`` and writes the program's outputs.

        Args:
            results: name and size per point of each array that is written, in the order of the outputs.
        """
        lines = [line for step in self.steps for line in self._loop(step)] + self._store(results)
        counters = [v for v in ("i", "k") if any(f"for ({v} = 0" in line for line in lines)]
        declared = [f"int {', '.join(counters)};"] if counters else []
        return "\n".join(f"    {line}" for line in [*self._declarations(), *declared, *self._load(), *lines])

    def arrays(self) -> dict[str, int]:
        """The lengths of the arrays that the function declares."""
        buffers = sorted(
            set(self.buffer_of.values()) - (set() if self.block else {0})
        )  # v0 of one point is its argument
        points, nodes = BLOCK if self.block else 1, self.program.nodes
        numbers = [i for i in sorted(self.kept) if not nodes[i].vector] if self.block else []
        return {f"v{b}": nodes[b].width * points for b in buffers} | {f"s{i}": points for i in numbers}

    def locals(self) -> int:
        """The number of its local constants."""
        return sum(len(step.nodes) for step in self.steps)

    def _declarations(self) -> list[str]:
        aligned = f"{self.prefix.upper()}_ALIGNED " if self.block else ""
        lines = [f"{aligned}{self.prefix}_real {name}[{length}];" for name, length in self.arrays().items()]
        return lines if self.block else [*lines, f"const {self.prefix}_real *v0 = z;"]

    def _load(self) -> list[str]:
        """The input of a block, which is ordered by points, into rows of lanes."""
        d = self.program.nodes[0].width
        return self._over_points([f"v0[{k * BLOCK} + i] = z[i * {d} + {k}];" for k in range(d)]) if self.block else []

    def _store(self, results: Sequence[tuple[str, int]]) -> list[str]:
        targets = [
            f"{name}[i * {size} + {j}]" if self.block else f"{name}[{j}]" for name, size in results for j in range(size)
        ]
        pairs = zip(targets, self.program.outputs, strict=True)
        return self._over_points([f"{target} = {_bare(self._argument(value, ''))};" for target, value in pairs])

    def _over_points(self, body: Sequence[str]) -> list[str]:
        if not self.block:
            return list(body)
        return [f"for (i = 0; i < {BLOCK}; i++) {{", *(f"    {line}" for line in body), "}"]

    def _loop(self, step: Loop) -> list[str]:
        node = self.program.nodes[step.nodes[0]]
        if step.kind == "dot":
            return self._dot(step.nodes[0])
        if step.kind == "stack":
            lanes = [self._lane(step.nodes[0], k) for k in range(node.width)]
            values = [self._argument(argument, "") for argument in node.arguments]
            return self._over_points([f"{lane} = {value};" for lane, value in zip(lanes, values, strict=True)])
        if step.kind == "numbers":
            return self._over_points(self._assignments(step, "", lambda index: f"s{index}[i]"))
        body = self._over_points(self._assignments(step, "k", lambda index: self._lane(index, "k")))
        return [f"for (k = 0; k < {node.width}; k++) {{", *(f"    {line}" for line in body), "}"]

    def _assignments(self, step: Loop, lane: str, place: Callable[[int], str]) -> list[str]:
        """Each node as a local constant, which is also stored at ``place`` if a later loop reads it."""
        lines, stores, local = [], [], step.kind == "numbers" and not self.block
        for index in step.nodes:
            node = self.program.nodes[index]
            if node.boolean:  # a condition is not a number that could be stored; it is written where it is used
                continue
            name = f"{'s' if local else 't'}{index}"
            lines.append(f"const {self.prefix}_real {name} = {_bare(self._expression(node, lane))};")
            self.local_names[index] = name
            if index in self.kept and not local:
                stores.append(f"{place(index)} = {name};")
        self.local_names.clear()
        return lines + stores

    def _dot(self, index: int) -> list[str]:
        node = self.program.nodes[index]
        (source,) = node.arguments
        assert isinstance(source, Whole)
        assert node.matrix is not None
        x, y = f"v{self.buffer_of[source.node]}", f"v{self.buffer_of[index]}"
        matrix = self.constants.name(node.matrix, "w")
        bias = self.constants.name(np.zeros(node.width) if node.bias is None else node.bias, "b")
        inputs, outputs = node.matrix.shape
        return [f"{self.prefix}_{'layer' if self.block else 'row'}({inputs}, {outputs}, {matrix}, {bias}, {x}, {y});"]

    def _expression(self, node: Node, lane: int | str) -> str:
        name, arguments = node.operation, [self._argument(argument, lane) for argument in node.arguments]
        if name in _INFIX:
            return f"({arguments[0]} {_INFIX[name]} {arguments[1]})"
        form = _FORMS.get(name, f"{self.prefix.upper()}_M({_LIBM.get(name, name)})({', '.join(arguments)})")
        return form.format(*arguments, tanh=f"{self.prefix}_tanh", R=f"{self.prefix.upper()}_R")

    def _argument(self, argument: Argument, lane: int | str) -> str:
        """An argument in the given lane of a loop over lanes."""
        if isinstance(argument, Element):
            return self._element(argument)
        if isinstance(argument, Whole):
            if argument.node in self.local_names:
                return self.local_names[argument.node]
            if self.program.nodes[argument.node].boolean:
                return self._expression(self.program.nodes[argument.node], lane)
            return self._lane(argument.node, lane)
        if isinstance(argument, tuple):
            return f"{self.constants.name(np.asarray(argument, float), 'c')}[{lane}]"
        return str(int(argument)) if isinstance(argument, bool) else number(self.prefix, argument)

    def _element(self, element: Element) -> str:
        node = self.program.nodes[element.node]
        if element.node in self.local_names:
            return self.local_names[element.node]
        if node.boolean:
            return self._expression(node, element.lane)
        if not node.vector:
            return f"s{element.node}[i]" if self.block else f"s{element.node}"
        return self._lane(element.node, element.lane)

    def _lane(self, node: int, lane: int | str) -> str:
        """A number of a stored vector; the lane is given as a number or as the variable of a loop."""
        if not self.block:
            return f"v{self.buffer_of[node]}[{lane}]"
        offset = lane * BLOCK if isinstance(lane, int) else f"{lane} * {BLOCK}"
        return f"v{self.buffer_of[node]}[{offset} + i]"


def _bare(expression: str) -> str:
    """The expression without a pair of parentheses that encloses all of it."""
    if not expression.startswith("("):
        return expression
    depth = 0
    for i, character in enumerate(expression):
        depth += (character == "(") - (character == ")")
        if not depth:
            return expression[1:-1] if i == len(expression) - 1 else expression
    return expression
