"""A program as the body of a C function: for one point, with a vector's lanes side by side, or for a block of points,
with the points side by side, so that compilers turn the inner loops into vector instructions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..program import Argument, Element, Node, Program, Whole
from ._schedule import Loop, buffers, schedule, stored

#: Points a block. 64 floats are four registers of 512 bits, enough sums under way to hide the latency of a
#: multiply-add with one output neuron at a time, and several output neurons share what is loaded.
BLOCK = 64

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_INFIX |= {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "and": "&&", "or": "||", "xor": "!="}
#: Conditionals, which compilers turn into vector instructions where a call of libm's fmax would stay one.
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
#: JAX's names that are not libm's.
_LIBM = {"abs": "fabs"}


@dataclass
class Constants:
    """The arrays of a file, each written once, whichever functions read them."""

    prefix: str
    names: dict[bytes, str] = field(default_factory=dict)
    declarations: list[str] = field(default_factory=list)

    def name(self, values: np.ndarray, kind: str) -> str:
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
    """A list in lines of C."""
    lines, line = [], "   "
    for i, item in enumerate(items):
        item += "," if i < len(items) - 1 else ""
        if len(line) + len(item) + 1 > width:
            lines.append(line)
            line = "   "
        line += " " + item
    return "\n".join([*lines, line])


def number(prefix: str, value: float) -> str:
    """A literal of the type in force; beyond float's range it is converted, as casting an array does."""
    if math.isnan(value) or math.isinf(value):
        return f"({prefix}_real)({'NAN' if math.isnan(value) else 'HUGE_VAL' if value > 0 else '-HUGE_VAL'})"
    text = repr(float(value))
    if value and not 1e-37 < abs(value) < 3e38:
        return f"({prefix}_real)({text})"
    return f"{prefix.upper()}_R({text if '.' in text or 'e' in text else text + '.0'})"


class Function:
    """Writes the body of one function, ``block`` of BLOCK points or of one."""

    def __init__(self, program: Program, constants: Constants, *, block: bool) -> None:
        self.program, self.constants, self.block = program, constants, block
        self.prefix = constants.prefix
        self.steps = schedule(program)
        self.kept = stored(program, self.steps)
        self.memory = buffers(program, self.steps, self.kept)
        self.inside: dict[int, str] = {}  # nodes of the loop being written, and their local names

    def text(self, results: Sequence[tuple[str, int]]) -> str:
        """The body: z is read, the results are written one after the other, each so many numbers a point."""
        lines = [line for step in self.steps for line in self.step(step)] + self.returned(results)
        loops = [v for v in ("i", "k") if any(f"for ({v} = 0" in line for line in lines)]
        first = [f"int {', '.join(loops)};"] if loops else []
        return "\n".join(f"    {line}" for line in [*self.declared(), *first, *self.loaded(), *lines])

    # Names of values. A number is a constant s of one point; of a block it is a constant t of its loop, and an array s
    # where a later loop reads it.

    def declared(self) -> list[str]:
        real, lines = f"{self.prefix}_real", []
        aligned = f"{self.prefix.upper()}_ALIGNED " if self.block else ""
        for buffer in sorted(set(self.memory.values()) if self.block else set(self.memory.values()) - {0}):
            width = self.program.nodes[buffer].width
            lines.append(f"{aligned}{real} v{buffer}[{width * BLOCK if self.block else width}];")
        if self.block:
            numbers = [i for i in sorted(self.kept) if not self.program.nodes[i].vector]
            return lines + [f"{aligned}{real} s{i}[{BLOCK}];" for i in numbers]
        return [*lines, f"const {real} *v0 = z;"]

    def element(self, e: Element) -> str:
        node = self.program.nodes[e.node]
        if e.node in self.inside:
            return self.inside[e.node]
        if node.boolean:
            return self.expression(node, lane="")
        if not node.vector:
            return f"s{e.node}[i]" if self.block else f"s{e.node}"
        return self.lane_of(e.node, str(e.lane * BLOCK) if self.block else str(e.lane))

    def lane_of(self, node: int, offset: str) -> str:
        return f"v{self.memory[node]}[{offset} + i]" if self.block else f"v{self.memory[node]}[{offset}]"

    def argument(self, a: Argument, lane: str) -> str:
        if isinstance(a, Element):
            return self.element(a)
        if isinstance(a, Whole):
            if a.node in self.inside:
                return self.inside[a.node]
            if self.program.nodes[a.node].boolean:
                return self.expression(self.program.nodes[a.node], lane)
            return self.lane_of(a.node, f"{lane} * {BLOCK}" if self.block else lane)
        if isinstance(a, tuple):
            return f"{self.constants.name(np.asarray(a, float), 'c')}[{lane}]"
        return str(int(a)) if isinstance(a, bool) else number(self.prefix, a)

    def expression(self, node: Node, lane: str) -> str:
        name, args = node.operation, [self.argument(a, lane) for a in node.arguments]
        if name in _INFIX:
            return f"({args[0]} {_INFIX[name]} {args[1]})"
        form = _FORMS.get(name, f"{self.prefix.upper()}_M({_LIBM.get(name, name)})({', '.join(args)})")
        return form.format(*args, tanh=f"{self.prefix}_tanh", R=f"{self.prefix.upper()}_R")

    # Loops.

    def over_points(self, body: Sequence[str]) -> list[str]:
        if not self.block:
            return list(body)
        return [f"for (i = 0; i < {BLOCK}; i++) {{", *(f"    {line}" for line in body), "}"]

    def step(self, step: Loop) -> list[str]:
        first = self.program.nodes[step.nodes[0]]
        if step.kind == "dot":
            return self.dot(step.nodes[0])
        if step.kind == "stack":
            place = lambda k: self.lane_of(step.nodes[0], str(k * BLOCK) if self.block else str(k))
            return self.over_points([f"{place(k)} = {self.argument(a, '')};" for k, a in enumerate(first.arguments)])
        if step.kind == "numbers":
            return self.over_points(self.assigned(step, "", lambda index: f"s{index}[i]"))
        offset = f"k * {BLOCK}" if self.block else "k"
        body = self.over_points(self.assigned(step, "k", lambda index: self.lane_of(index, offset)))
        return [f"for (k = 0; k < {first.width}; k++) {{", *(f"    {line}" for line in body), "}"]

    def assigned(self, step: Loop, lane: str, place: Callable[[int], str]) -> list[str]:
        """Each node as a local constant, written to memory where a later loop reads it."""
        lines, kept, alone = [], [], step.kind == "numbers" and not self.block
        for index in step.nodes:
            node = self.program.nodes[index]
            if node.boolean:  # written where it is used: a condition is no number that could be stored
                continue
            name = f"{'s' if alone else 't'}{index}"
            lines.append(f"const {self.prefix}_real {name} = {_bare(self.expression(node, lane))};")
            self.inside[index] = name
            if index in self.kept and not alone:
                kept.append(f"{place(index)} = {name};")
        self.inside.clear()
        return lines + kept

    def dot(self, index: int) -> list[str]:
        node = self.program.nodes[index]
        (source,) = node.arguments
        assert isinstance(source, Whole)
        assert node.matrix is not None
        x, y = f"v{self.memory[source.node]}", f"v{self.memory[index]}"
        matrix = self.constants.name(node.matrix, "w")
        bias = self.constants.name(np.zeros(node.width) if node.bias is None else node.bias, "b")
        inputs, outputs = node.matrix.shape
        return [f"{self.prefix}_{'layer' if self.block else 'row'}({inputs}, {outputs}, {matrix}, {bias}, {x}, {y});"]

    def loaded(self) -> list[str]:
        """A block's input, point after point in memory, as rows of lanes."""
        d = self.program.nodes[0].width
        return self.over_points([f"v0[{k * BLOCK} + i] = z[i * {d} + {k}];" for k in range(d)]) if self.block else []

    def returned(self, results: Sequence[tuple[str, int]]) -> list[str]:
        where = [(name, size, j) for name, size in results for j in range(size)]
        place = lambda name, size, j: f"{name}[i * {size} + {j}]" if self.block else f"{name}[{j}]"
        pairs = zip(where, self.program.outputs, strict=True)
        return self.over_points([f"{place(*at)} = {_bare(self.argument(value, ''))};" for at, value in pairs])


def _bare(expression: str) -> str:
    """Without the brackets around the whole, if one pair is."""
    if not expression.startswith("("):
        return expression
    depth = 0
    for i, character in enumerate(expression):
        depth += (character == "(") - (character == ")")
        if not depth:
            return expression[1:-1] if i == len(expression) - 1 else expression
    return expression
