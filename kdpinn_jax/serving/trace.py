"""Traces a function of one point into a program.

``jax.make_jaxpr`` records everything that a field does: embedding, network, ansatz and derivatives. The record is
evaluated here on arrays whose items refer to numbers that are computed earlier in the program. Slices, stacks and
transposes only move such references, so that they cost nothing and do not appear in the program.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
from jax.typing import ArrayLike

from .build import WIDE, ProgramBuilder, as_scalar, is_constant, normalised, scalar_array
from .program import POINTWISE, Element, Program

_SYNONYMS = {"add_any": "add"}
#: Primitives that only move numbers. They are applied to positions instead of values.
_MOVES = frozenset(
    {"broadcast_in_dim", "concatenate", "copy", "copy_p", "dynamic_slice", "expand_dims", "gather", "pad", "reshape"}
    | {"rev", "slice", "split", "squeeze", "stack", "stop_gradient", "transpose"}
)
#: Primitives that evaluate another jaxpr, and the parameter that holds it.
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
    """A straight-line program of pointwise operations cannot express the function."""


def trace(function: Callable[[Any], Any], inputs: int) -> Program:
    """The program of a function of one point, traced in float64.

    Args:
        function: z (inputs,) -> an array or a tuple of arrays, whose numbers are the outputs in order.
        inputs: the number of coordinates of a point.

    Raises:
        UnsupportedPrimitive: the function contains a loop, a branch, an integer that depends on z, or a primitive
            without a counterpart in C.
    """
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((inputs,), np.float64))
        builder = ProgramBuilder(inputs)
        arrays = _Evaluator(builder).evaluate(closed.jaxpr, closed.consts, [builder.point])
    return builder.program([as_scalar(item) for array in arrays for item in np.asarray(array).reshape(-1)])


class _Evaluator:
    """Evaluates a jaxpr on arrays of elements and constants."""

    def __init__(self, builder: ProgramBuilder) -> None:
        self.builder = builder

    def evaluate(self, jaxpr: Jaxpr, consts: Sequence[ArrayLike], arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        values: dict[Var, np.ndarray] = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        values |= zip(jaxpr.invars, arguments, strict=True)

        def read(variable: Var | Literal) -> np.ndarray:
            return np.asarray(variable.val) if isinstance(variable, Literal) else values[variable]

        for equation in jaxpr.eqns:
            results = self.equation(equation, [read(variable) for variable in equation.invars])
            values |= zip(equation.outvars, map(normalised, results), strict=True)
        return [read(variable) for variable in jaxpr.outvars]

    def equation(self, equation: JaxprEqn, values: list[np.ndarray]) -> Sequence[np.ndarray]:
        name, params = _SYNONYMS.get(equation.primitive.name, equation.primitive.name), equation.params
        if name in _CALLS:
            inner: Any = params[_CALLS[name]]  # a Jaxpr or a ClosedJaxpr
            return self.evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values)
        if all(map(is_constant, values)):
            return [np.asarray(array) for array in _bind(equation, map(jax.numpy.asarray, values))]
        if name in _MOVES:
            return self.move(equation, values)
        shape = _aval(equation.outvars[0]).shape
        if name == "convert_element_type":
            return [self.convert(values[0], np.dtype(params["new_dtype"]))]
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
            return [self.reduce(_REDUCTIONS[name], values[0], params["axes"])]
        if name == "dot_general":
            contracted, batched = params["dimension_numbers"]
            return [self.dot_general(values[0], values[1], contracted, batched)]
        if name == "select_n" and len(values) == 3 and _aval(equation.invars[0]).dtype == bool:
            return [self.pointwise(name, values, shape)]
        if name in POINTWISE and name != "select_n" and _aval(equation.outvars[0]).dtype in (np.float64, bool):
            return [self.pointwise(name, values, shape)]
        raise UnsupportedPrimitive(
            f"the model's program uses the primitive {equation.primitive.name!r} in a form that cannot be exported; "
            "write embedding and ansatz with arithmetic, elementary functions, jnp.where and products with constants"
        )

    def move(self, equation: JaxprEqn, values: list[np.ndarray]) -> list[np.ndarray]:
        """Apply the primitive to the positions of its arguments' items in one list, and look up the results there."""
        items, arguments = [], []
        for value, variable in zip(values, equation.invars, strict=True):
            if _aval(variable).dtype not in (np.float64, bool):  # the indices of a gather
                arguments.append(jax.numpy.asarray(value))
                continue
            arguments.append(jax.numpy.arange(len(items), len(items) + value.size).reshape(value.shape))
            items += map(as_scalar, value.reshape(-1))
        positions = _bind(equation, arguments)
        return [scalar_array([items[i] for i in np.asarray(array).reshape(-1)], array.shape) for array in positions]

    def convert(self, value: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Conditions as the numbers 0 and 1; numbers remain what they are."""
        if dtype != np.float64 and dtype != np.float32:
            raise UnsupportedPrimitive(f"the model's program converts numbers to {dtype}, which cannot be exported")
        nodes = self.builder.nodes
        items = [
            self.builder.number("select_n", [item, 0.0, 1.0])
            if isinstance(item, Element) and nodes[item.node].boolean
            else item
            for item in value.reshape(-1)
        ]
        return scalar_array(items, value.shape)

    def power(self, x: np.ndarray, exponent: int) -> np.ndarray:
        """x to an integer power by repeated squaring."""
        result, square, remaining = None, x, abs(exponent)
        while remaining:
            if remaining & 1:
                result = square if result is None else self.pointwise("mul", [result, square], x.shape)
            remaining >>= 1
            square = self.pointwise("mul", [square, square], x.shape) if remaining else square
        if result is None:
            return np.ones(x.shape)
        return self.pointwise("div", [np.asarray(1.0), result], x.shape) if exponent < 0 else result

    def pointwise(self, operation: str, values: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        full = [np.broadcast_to(value, shape) for value in values]
        if not shape or shape[-1] < WIDE:
            groups = zip(*(value.reshape(-1) for value in full), strict=True)
            return scalar_array([self.builder.number(operation, list(map(as_scalar, g))) for g in groups], shape)
        groups = zip(*(value.reshape(-1, shape[-1]) for value in full), strict=True)
        return scalar_array([item for rows in groups for item in self.builder.vector(operation, rows)], shape)

    def reduce(self, operation: str, value: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        kept = tuple(size for axis, size in enumerate(value.shape) if axis not in axes)
        rows = np.moveaxis(value, axes, range(-len(axes), 0)).reshape(*kept, -1)
        slices = [rows[..., i] for i in range(rows.shape[-1])]
        return functools.reduce(lambda a, b: self.pointwise(operation, [a, b], kept), slices)

    def dot_general(
        self,
        a: np.ndarray,
        b: np.ndarray,
        contracted: tuple[Sequence[int], Sequence[int]],
        batched: tuple[Sequence[int], Sequence[int]],
    ) -> np.ndarray:
        if batched[0] or batched[1]:
            raise UnsupportedPrimitive("the model's program has a batched product, which cannot be exported")
        matrices, shape = [], []
        for array, axes in ((a, contracted[0]), (b, contracted[1])):
            free = [axis for axis in range(array.ndim) if axis not in axes]
            shape += [array.shape[axis] for axis in free]
            size = int(np.prod([array.shape[axis] for axis in axes], dtype=int))
            matrices.append(array.transpose(*free, *axes).reshape(-1, size))
        left, right = matrices
        if is_constant(left):
            product = np.stack([self.builder.times_matrix(row, left.T) for row in right], axis=1)
        elif is_constant(right):
            product = np.stack([self.builder.times_matrix(row, right.T) for row in left], axis=0)
        else:
            # Not stacked: NumPy would take an element, which is a tuple, for a row of numbers.
            return scalar_array([self.builder.sum_of_products(x, y) for x in left for y in right], tuple(shape))
        return scalar_array([as_scalar(item) for item in product.reshape(-1)], tuple(shape))


def _bind(equation: JaxprEqn, arguments: Iterable[ArrayLike]) -> Sequence[Array]:
    """The results of an equation's primitive, always as a sequence."""
    results = equation.primitive.bind(*arguments, **equation.params)
    return results if equation.primitive.multiple_results else [results]


def _aval(variable: Var | Literal) -> Any:
    """The shape and dtype of a variable; type checkers know only the class of all abstract values."""
    return variable.aval
