"""A function of one point as a program (``_program``).

``jax.make_jaxpr`` records what a field does: embedding, network, ansatz, derivatives. Here a traced array is a NumPy
array of references to numbers computed before, so that slices, stacks and transposes cost nothing and are gone.
Constants are folded, equal nodes shared and unused ones dropped.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from .program import LAX_NAMES, POINTWISE, Argument, Element, Node, Program, Whole

#: A row of at least so many numbers is a vector; shorter ones are taken apart.
WIDE = 4
_SAME_NAME = {"add_any": "add"}
#: These only move numbers: they are run on the references.
_MOVES = frozenset(
    {"broadcast_in_dim", "concatenate", "copy", "copy_p", "dynamic_slice", "expand_dims", "gather", "pad", "reshape"}
    | {"rev", "slice", "split", "squeeze", "stack", "stop_gradient", "transpose"}
)
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}
_REDUCTIONS = {"reduce_sum": "add", "reduce_max": "max", "reduce_min": "min", "reduce_prod": "mul"}


class UnsupportedPrimitive(ValueError):
    """The function does something that a straight-line program of pointwise operations cannot say."""


def trace(function: Callable[[Any], Any], inputs: int) -> Program:
    """The program of z (inputs,) -> array or tuple of arrays, traced in float64; outputs are flattened in their order.

    Raises:
        UnsupportedPrimitive: a loop, a branch, an integer that depends on z, or a primitive with no counterpart in C.
    """
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((inputs,), np.float64))
        builder = _Builder(inputs)
        found = builder.run(closed.jaxpr, closed.consts, [builder.point])
    outputs = tuple(_plain(item) for array in found for item in np.asarray(array).reshape(-1))
    return _without_unused(builder.nodes, outputs)


def _plain(item: Any) -> Any:
    return item if isinstance(item, Element) else item.item() if isinstance(item, np.generic) else item


def _constant(array: np.ndarray) -> bool:
    return array.dtype != object


def _settled(array: np.ndarray) -> np.ndarray:
    """An array of plain numbers where nothing in it refers to a node."""
    if array.dtype == object and not any(isinstance(item, Element) for item in array.reshape(-1)):
        return np.array(array.tolist()).reshape(array.shape)
    return array


def _objects(items: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return _settled(array.reshape(shape))


class _Builder:
    """Evaluates a jaxpr over arrays of references, collecting nodes."""

    def __init__(self, inputs: int) -> None:
        self.nodes: list[Node] = []
        self.known: dict[Any, int] = {}
        index = self.node(Node("input", inputs))
        self.point = _objects([Element(index, lane) for lane in range(inputs)], (inputs,))

    def node(self, node: Node) -> int:
        fingerprint = tuple(a if a is None else (a.shape, a.tobytes()) for a in (node.matrix, node.bias))
        # 0.0 and False, 1 and True are equal to Python.
        typed = tuple((type(a), a) for a in node.arguments)
        key = node.operation, node.width, typed, fingerprint
        if key not in self.known:
            self.known[key] = len(self.nodes)
            self.nodes.append(node)
        return self.known[key]

    def run(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        known = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        known |= zip(jaxpr.invars, arguments, strict=True)
        read = lambda v: np.asarray(v.val) if isinstance(v, Literal) else known[v]
        for equation in jaxpr.eqns:
            results = self.equation(equation, [read(v) for v in equation.invars])
            known |= zip(equation.outvars, map(_settled, results), strict=True)
        return [read(v) for v in jaxpr.outvars]

    def equation(self, equation: Any, values: list[np.ndarray]) -> Sequence[np.ndarray]:
        name, params = _SAME_NAME.get(equation.primitive.name, equation.primitive.name), equation.params
        if name in _CALLS:
            inner: Any = params[_CALLS[name]]
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values)
        if all(map(_constant, values)):
            found = equation.primitive.bind(*map(jax.numpy.asarray, values), **params)
            return [np.asarray(x) for x in (found if equation.primitive.multiple_results else [found])]
        if name in _MOVES:
            return self.move(equation, values)
        shape = equation.outvars[0].aval.shape
        if name == "convert_element_type":
            return [self.converted(values[0], np.dtype(params["new_dtype"]))]
        if name == "integer_pow":
            return [self.power(values[0], params["y"])]
        if name == "square":
            return [self.pointwise("mul", [values[0], values[0]], shape)]
        if name == "rsqrt":
            return [self.pointwise("div", [np.asarray(1.0), self.pointwise("sqrt", values, shape)], shape)]
        if name == "round" and params["rounding_method"] == jax.lax.RoundingMethod.TO_NEAREST_EVEN:
            name = "rint"
        if name == "clamp":
            low, x, high = values
            return [self.pointwise("min", [self.pointwise("max", [low, x], shape), high], shape)]
        if name in _REDUCTIONS:
            return [self.reduced(_REDUCTIONS[name], values[0], params["axes"])]
        if name == "dot_general":
            return [self.dot_general(*values, *params["dimension_numbers"])]
        if name == "select_n" and len(values) == 3 and equation.invars[0].aval.dtype == bool:
            return [self.pointwise(name, values, shape)]
        if name in POINTWISE and name != "select_n" and equation.outvars[0].aval.dtype in (np.float64, bool):
            return [self.pointwise(name, values, shape)]
        raise UnsupportedPrimitive(
            f"the model's program uses the primitive {equation.primitive.name!r} in a form that cannot be exported; "
            "write embedding and ansatz with arithmetic, elementary functions, jnp.where and products with constants"
        )

    def move(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        """Run the primitive on positions in the list of all numbers it is given."""
        pool, positions = [], []
        for value, variable in zip(values, equation.invars, strict=True):
            if variable.aval.dtype not in (np.float64, bool):  # the indices of a gather
                positions.append(jax.numpy.asarray(value))
                continue
            positions.append(jax.numpy.arange(len(pool), len(pool) + value.size).reshape(value.shape))
            pool += map(_plain, value.reshape(-1))
        found = equation.primitive.bind(*positions, **equation.params)
        found = found if equation.primitive.multiple_results else [found]
        return [_objects([pool[i] for i in np.asarray(x).reshape(-1)], x.shape) for x in found]

    def converted(self, value: np.ndarray, dtype: np.dtype) -> np.ndarray:
        boolean = lambda item: isinstance(item, Element) and self.nodes[item.node].boolean
        if dtype != np.float64 and dtype != np.float32:
            raise UnsupportedPrimitive(f"the model's program converts numbers to {dtype}, which cannot be exported")
        items = [self.number("select_n", [item, 0.0, 1.0]) if boolean(item) else item for item in value.reshape(-1)]
        return _objects(items, value.shape)

    def power(self, x: np.ndarray, exponent: int) -> np.ndarray:
        result, square, left = None, x, abs(exponent)
        while left:
            if left & 1:
                result = square if result is None else self.pointwise("mul", [result, square], x.shape)
            left >>= 1
            square = self.pointwise("mul", [square, square], x.shape) if left else square
        if result is None:
            return np.ones(x.shape)
        return self.pointwise("div", [np.asarray(1.0), result], x.shape) if exponent < 0 else result

    def pointwise(self, operation: str, values: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        full = [np.broadcast_to(value, shape) for value in values]
        if not shape or shape[-1] < WIDE:
            rows = zip(*(value.reshape(-1) for value in full), strict=True)
            return _objects([self.number(operation, list(map(_plain, row))) for row in rows], shape)
        rows = [value.reshape(-1, shape[-1]) for value in full]
        lanes = [lane for row in zip(*rows, strict=True) for lane in self.vector(operation, list(row))]
        return _objects(lanes, shape)

    def number(self, operation: str, arguments: list[Any]) -> Any:
        if not any(isinstance(a, Element) for a in arguments):
            return _folded(operation, arguments)
        if (known := _simpler(operation, arguments)) is not None:
            return known
        return Element(self.node(Node(operation, 1, tuple(arguments))), 0)

    def vector(self, operation: str, arguments: list[np.ndarray]) -> list[Element]:
        width = len(arguments[0])
        parts = [self.argument(_settled(row)) for row in arguments]
        if operation == "add":
            for product, constant in (parts, parts[::-1]):
                of = self.nodes[product.node] if isinstance(product, Whole) else None
                if of and of.operation == "dot" and of.bias is None and type(constant) in (tuple, float):
                    biased = Node("dot", width, of.arguments, of.matrix, np.broadcast_to(constant, width))
                    return self.lanes(self.node(biased), width)
        return self.lanes(self.node(Node(operation, width, tuple(parts))), width)

    def lanes(self, node: int, width: int) -> list[Element]:
        return [Element(node, lane) for lane in range(width)]

    def argument(self, row: np.ndarray) -> Argument:
        """A row as an argument of a vector node; numbers of several nodes are gathered first."""
        if _constant(row):
            return row[0].item() if (row == row[0]).all() else tuple(row.tolist())
        if isinstance(row[0], Element) and all(item == row[0] for item in row):
            return row[0]
        return self.whole(row) or self.stacked(row)

    def whole(self, row: np.ndarray) -> Whole | None:
        """The vector whose lanes the row is, if it is one's."""
        first = row[0]
        if isinstance(first, Element) and self.nodes[first.node].vector:
            lanes = self.lanes(first.node, self.nodes[first.node].width)
            return Whole(first.node) if list(row) == lanes else None
        return None

    def stacked(self, row: np.ndarray) -> Whole:
        return Whole(self.node(Node("stack", len(row), tuple(map(_plain, row)))))

    def reduced(self, operation: str, value: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        kept = tuple(size for axis, size in enumerate(value.shape) if axis not in axes)
        rows = np.moveaxis(value, axes, range(-len(axes), 0)).reshape(*kept, -1)
        parts = [rows[..., i] for i in range(rows.shape[-1])]
        return functools.reduce(lambda a, b: self.pointwise(operation, [a, b], kept), parts)

    def dot_general(self, a: np.ndarray, b: np.ndarray, contracted: Any, batched: Any) -> np.ndarray:
        if batched[0] or batched[1]:
            raise UnsupportedPrimitive("the model's program has a batched product, which cannot be exported")
        arrays, kept = [], []
        for array, axes in ((a, contracted[0]), (b, contracted[1])):
            free = [axis for axis in range(array.ndim) if axis not in axes]
            kept += [array.shape[axis] for axis in free]
            size = int(np.prod([array.shape[axis] for axis in axes], dtype=int))
            arrays.append(array.transpose(*free, *axes).reshape(-1, size))
        left, right = arrays
        if _constant(left):
            product = np.stack([self.times_matrix(row, left.T) for row in right], axis=1)
        elif _constant(right):
            product = np.stack([self.times_matrix(row, right.T) for row in left], axis=0)
        else:
            product = np.stack([[self.sum_of_products(x, y) for y in right] for x in left])
        return _objects([_plain(item) for item in product.reshape(-1)], tuple(kept))

    def times_matrix(self, row: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """row @ matrix: a node of its own where the row is a vector or the product is one."""
        row, outputs = _settled(row), matrix.shape[1]
        if _constant(row):
            return row @ matrix
        if outputs < WIDE and not self.whole(row):
            return _objects([self.sum_of_products(row, column) for column in matrix.T], (outputs,))
        node = Node("dot", outputs, (self.whole(row) or self.stacked(row),), np.ascontiguousarray(matrix))
        return _objects(self.lanes(self.node(node), outputs), (outputs,))

    def sum_of_products(self, x: np.ndarray, y: np.ndarray) -> Any:
        terms = [
            self.number("mul", [_plain(a), _plain(b)])
            for a, b in zip(x, y, strict=True)
            if not any(not isinstance(item, Element) and item == 0 for item in (a, b))
        ]
        return functools.reduce(lambda a, b: self.number("add", [a, b]), terms) if terms else 0.0


def _simpler(operation: str, arguments: list[Any]) -> Any:
    """What x + 0, x · 1, x · 0 and their like come to; None elsewhere. A derivative along one axis is full of them, and
    x · 0 = 0 is meant there, whatever x."""
    is_number = lambda item, value: not isinstance(item, Element) and item == value
    if operation not in ("add", "sub", "mul", "div"):
        return None
    a, b = arguments
    if operation in ("mul", "div") and (is_number(a, 0.0) or (operation == "mul" and is_number(b, 0.0))):
        return 0.0
    neutral = 0.0 if operation in ("add", "sub") else 1.0
    if is_number(b, neutral):
        return a
    return b if operation in ("add", "mul") and is_number(a, neutral) else None


def _folded(operation: str, arguments: Sequence[Any]) -> Any:
    if operation == "rint":
        return float(np.rint(arguments[0]))
    name = LAX_NAMES.get(operation, operation)
    return np.asarray(getattr(jax.lax, name)(*map(np.asarray, arguments))).item()


def _without_unused(nodes: Sequence[Node], outputs: tuple[Any, ...]) -> Program:
    needed, waiting = {0}, [item.node for item in outputs if isinstance(item, Element)]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            waiting += [a.node for a in nodes[index].arguments if isinstance(a, Element | Whole)]
    kept = {old: new for new, old in enumerate(sorted(needed))}

    def moved(a: Any) -> Any:
        return a._replace(node=kept[a.node]) if isinstance(a, Element | Whole) else a

    renumbered = tuple(
        Node(n.operation, n.width, tuple(map(moved, n.arguments)), n.matrix, n.bias)
        for n in (nodes[old] for old in sorted(needed))
    )
    return Program(renumbered, tuple(map(moved, outputs)))
