"""Traces a function of one point into a program.

``jax.make_jaxpr`` records everything that a field does: embedding, network, ansatz and derivatives. The record is
evaluated here on arrays whose items refer to numbers that are computed earlier in the program. Slices, stacks and
transposes only move such references, so that they cost nothing and do not appear in the program.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
from jax.typing import ArrayLike

from ._bits import of_bits
from ._nan import with_nan
from ._operations import convert, dot_general, pointwise, polynomial, power, reduce, scatter, select
from ._origin import is_jax_function, user_function
from ._stablehlo import UnknownOperation, in_terms_of_lax
from .build import Bits, ProgramBuilder, as_scalar, is_constant, normalised, scalar_array
from .program import POINTWISE, Program

_SYNONYMS = {"add_any": "add"}
#: Primitives that only move numbers. They are applied to positions instead of values.
_MOVES = frozenset(
    {"broadcast_in_dim", "concatenate", "copy", "copy_p", "dynamic_slice", "dynamic_update_slice", "expand_dims"}
    | {"gather", "pad", "reshape", "rev", "scatter", "slice", "split", "squeeze", "stack", "stop_gradient", "tile"}
    | {"transpose", "unstack"}
)
#: Of these, those that have an argument of indices.
_INDEXED = frozenset({"dynamic_slice", "dynamic_update_slice", "gather", "scatter"})
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
_REDUCTIONS |= {"reduce_and": "and", "reduce_or": "or"}
_SCATTERS = {"scatter-add": "add", "scatter-max": "max", "scatter-min": "min", "scatter-mul": "mul"}
_SCATTERS |= {name.replace("-", "_"): operation for name, operation in _SCATTERS.items()}
#: Operations in ``POINTWISE`` that give whole numbers for whole numbers.
_OF_INTEGERS = frozenset({"abs", "add", "max", "min", "mul", "neg", "rem", "sign", "sub"})


class UnsupportedPrimitive(ValueError):
    """A straight-line program of pointwise operations cannot express the function."""


def trace(function: Callable[[Any], Any], inputs: int) -> Program:
    """The program of a function of one point, traced in float64.

    Args:
        function: z (inputs,) -> an array or a tuple of arrays, whose numbers are the outputs in order.
        inputs: the number of coordinates of a point.

    Raises:
        UnsupportedPrimitive: the function contains a loop, a branch, an integer that depends on z, or a primitive
            without a counterpart in C. The message names the primitive and states whether it comes from the user's
            code or from JAX.
    """
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((inputs,), np.float64))
        builder = ProgramBuilder(inputs)
        arrays = _Evaluator(builder).evaluate(closed.jaxpr, closed.consts, [builder.point])
    outputs = [as_scalar(item) for array in arrays for item in np.asarray(array).reshape(-1)]
    return builder.program(with_nan(builder, outputs))


class _Evaluator:
    """Evaluates a jaxpr on arrays of elements and constants.

    Attributes:
        builder: collects the nodes of the program.
        calls: the equations whose jaxprs are being evaluated, outermost first.
        rewritten: the one of them that is evaluated in terms of ``jax.lax``, because it is unknown here.
    """

    def __init__(self, builder: ProgramBuilder) -> None:
        self.builder = builder
        self.calls: list[JaxprEqn] = []
        self.rewritten: JaxprEqn | None = None

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
        if not equation.outvars:  # for example jax.debug.print
            return []
        if name in _CALLS:
            return self.call(equation, params[_CALLS[name]], values)
        if all(map(is_constant, values)):
            dtypes = [_aval(variable).dtype for variable in equation.invars]
            return [np.asarray(array) for array in _bind(equation, map(jax.numpy.asarray, values, dtypes))]
        if name == "cond":
            return self.cond(equation, values)
        if name in _MOVES:
            return self.move(equation, values)
        if name == "bitcast_convert_type" or any(map(_has_bits, values)):
            return [self.bits(equation, values)]
        result = self.array(name, equation, values)
        return self.rewrite(equation, values) if result is None else [result]

    def array(self, name: str, equation: JaxprEqn, values: list[np.ndarray]) -> np.ndarray | None:
        """The result of a primitive that returns one array; None if it is unknown here."""
        params, builder = equation.params, self.builder
        shape, dtype = _aval(equation.outvars[0]).shape, _aval(equation.outvars[0]).dtype
        apply = lambda operation, *arguments: pointwise(builder, operation, arguments, shape)
        one = np.asarray(1.0)
        match name:
            case "convert_element_type" if not np.issubdtype(dtype, np.unsignedinteger):
                return convert(builder, values[0], dtype)
            case "integer_pow":
                return power(builder, values[0], params["y"])
            case "square":
                return apply("mul", values[0], values[0])
            case "one_minus_square":
                return apply("mul", apply("add", one, values[0]), apply("sub", one, values[0]))
            case "rsqrt":
                return apply("div", one, apply("sqrt", values[0]))
            case "is_finite":
                return apply("lt", apply("abs", values[0]), np.asarray(np.inf))
            case "polynomial":
                return polynomial(builder, values[0], values[1:], shape)
            case "round" if params["rounding_method"] == jax.lax.RoundingMethod.TO_NEAREST_EVEN:
                return apply("rint", values[0])
            case "clamp":
                low, x, high = values
                return apply("min", apply("max", low, x), high)
            case "dot_general":
                return dot_general(builder, values[0], values[1], params["dimension_numbers"])
            case "select_n":
                return select(builder, values[0], values[1:], shape, dtype)
            case _ if name in _REDUCTIONS:
                return reduce(builder, _REDUCTIONS[name], values[0], tuple(map(int, params["axes"])))
            case _ if name in _SCATTERS and is_constant(values[1]):
                options = {option: params[option] for option in ("dimension_numbers", "mode")}
                return scatter(builder, _SCATTERS[name], *values, **options)
            case _ if name in POINTWISE and (
                dtype in (np.float64, bool) or (np.issubdtype(dtype, np.signedinteger) and name in _OF_INTEGERS)
            ):
                return apply(name, *values)
        return None

    def cond(self, equation: JaxprEqn, values: list[np.ndarray]) -> Sequence[np.ndarray]:
        """Evaluate every branch, and select the results, as ``jax.vmap`` does."""
        index, *operands = values
        branches = [self.call(equation, branch, operands) for branch in equation.params["branches"]]
        return [
            select(self.builder, index, cases, _aval(variable).shape, _aval(variable).dtype)
            for variable, *cases in zip(equation.outvars, *branches, strict=True)
        ]

    def call(self, equation: JaxprEqn, inner: Any, values: list[np.ndarray]) -> Sequence[np.ndarray]:
        """Evaluate a jaxpr that an equation contains, a Jaxpr or a ClosedJaxpr."""
        self.calls.append(equation)
        results = self.evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values)
        self.calls.pop()
        return results

    def rewrite(self, equation: JaxprEqn, values: list[np.ndarray]) -> Sequence[np.ndarray]:
        """Evaluate a primitive that is unknown here in terms of ``jax.lax``."""
        if self.rewritten:
            raise self.unsupported(equation)
        try:
            jaxpr = in_terms_of_lax(equation)
        except (UnknownOperation, NotImplementedError):
            raise self.unsupported(equation) from None
        self.rewritten = equation
        results = self.call(equation, jaxpr, values)
        self.rewritten = None
        return results

    def unsupported(self, equation: JaxprEqn) -> UnsupportedPrimitive:
        """The error for an equation that cannot be translated."""
        primitive, function = (self.rewritten or equation).primitive.name, user_function([*self.calls, equation])
        problem = f"the model's program uses the primitive {primitive!r} in a form that cannot be exported"
        if function:
            return UnsupportedPrimitive(
                f"{problem}, in {function}; write embedding and ansatz with arithmetic, elementary functions, "
                "jnp.where and products with constants"
            )
        return UnsupportedPrimitive(
            f"{problem}; it comes from JAX {jax.__version__} and not from an embedding or ansatz of yours: "
            "install another version of JAX, and report this message"
        )

    def move(self, equation: JaxprEqn, values: list[np.ndarray]) -> list[np.ndarray]:
        """Apply the primitive to the positions of its arguments' items in one list, and look up the results there."""
        items, arguments = [], []
        for value, variable in zip(values, equation.invars, strict=True):
            if equation.primitive.name in _INDEXED and np.issubdtype(_aval(variable).dtype, np.integer):
                if not is_constant(value):
                    raise self.unsupported(equation)
                arguments.append(jax.numpy.asarray(value))
                continue
            arguments.append(jax.numpy.arange(len(items), len(items) + value.size).reshape(value.shape))
            items += map(as_scalar, value.reshape(-1))
        replaced: dict[str, int] = {}
        if "fill_value" in equation.params:  # what JAX reads beyond the end of an array, by default NaN
            fill = equation.params["fill_value"]
            replaced = {"fill_value": len(items)}
            items.append(np.nan if fill is None else fill)
        positions = [np.asarray(array) for array in _bind(equation, arguments, **replaced)]
        return [scalar_array([items[i] for i in array.reshape(-1)], array.shape) for array in positions]

    def bits(self, equation: JaxprEqn, values: list[np.ndarray]) -> np.ndarray:
        """An operation on the bits of numbers."""
        whole = any(map(is_jax_function, self.calls))
        shape = _aval(equation.outvars[0]).shape
        full = [np.broadcast_to(value, shape).reshape(-1) for value in values]
        items = [
            of_bits(self.builder, equation, list(map(as_scalar, group)), whole) for group in zip(*full, strict=True)
        ]
        if any(item is None for item in items):
            raise self.unsupported(equation)
        return scalar_array([item for item in items if item is not None], shape)


def _bind(equation: JaxprEqn, arguments: Iterable[ArrayLike], **replaced: object) -> Sequence[Array]:
    """The results of an equation's primitive, always as a sequence."""
    results = equation.primitive.bind(*arguments, **equation.params | replaced)
    return results if equation.primitive.multiple_results else [results]


def _has_bits(array: np.ndarray) -> bool:
    return array.dtype == object and any(isinstance(item, Bits) for item in array.reshape(-1))


def _aval(variable: Var | Literal) -> Any:
    """The shape and dtype of a variable; type checkers know only the class of all abstract values."""
    return variable.aval
