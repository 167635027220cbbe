"""Rewrites a primitive in terms of ``jax.lax``, from the form in which JAX gives it to XLA's compilers.

JAX gains primitives with every version, while the operations of StableHLO are stable: each primitive is lowered to
them. They are read back here, one by one, as calls of ``jax.lax``.
"""

import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.extend.core import JaxprEqn

#: Operations that are one function of ``jax.lax``. Those of CHLO, which JAX also uses, have the same names.
_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "abs": lax.abs, "acos": lax.acos, "acosh": lax.acosh, "add": lax.add, "and": lax.bitwise_and, "asin": lax.asin,
    "asinh": lax.asinh, "atan": lax.atan, "atan2": lax.atan2, "atanh": lax.atanh, "cbrt": lax.cbrt, "ceil": lax.ceil,
    "clamp": lax.clamp, "cosh": lax.cosh, "cosine": lax.cos, "divide": lax.div, "erf": lax.erf, "erfc": lax.erfc,
    "exponential": lax.exp, "exponential_minus_one": lax.expm1, "floor": lax.floor, "is_finite": lax.is_finite,
    "log": lax.log, "log_plus_one": lax.log1p, "logistic": lax.logistic, "maximum": lax.max, "minimum": lax.min,
    "multiply": lax.mul, "negate": lax.neg, "not": lax.bitwise_not, "optimization_barrier": lambda x: x,
    "or": lax.bitwise_or, "power": lax.pow, "remainder": lax.rem, "round_nearest_afz": lax.round, "rsqrt": lax.rsqrt,
    "round_nearest_even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), "select": lax.select,
    "sign": lax.sign, "sine": lax.sin, "sinh": lax.sinh, "sqrt": lax.sqrt, "square": lax.square, "subtract": lax.sub,
    "tan": lax.tan, "tanh": lax.tanh, "xor": lax.bitwise_xor,
}  # fmt: skip
_COMPARISONS = {"EQ": lax.eq, "NE": lax.ne, "GE": lax.ge, "GT": lax.gt, "LE": lax.le, "LT": lax.lt}
_DTYPES = {"i1": np.bool_, "f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64}
_DTYPES |= {"ui32": np.uint32, "ui64": np.uint64}


class UnknownOperation(ValueError):
    """StableHLO's operation has no counterpart here; the message is its name."""


def in_terms_of_lax(equation: JaxprEqn) -> Any:
    """The closed jaxpr of an equation's primitive, which contains operations of ``jax.lax`` instead.

    Raises:
        UnknownOperation: the primitive is lowered to a loop, a branch, or another operation without a counterpart here.
    """
    shapes = [jax.ShapeDtypeStruct(variable.aval.shape, variable.aval.dtype) for variable in equation.invars]  # pyright: ignore[reportAttributeAccessIssue]
    primitive = lambda *arguments: equation.primitive.bind(*arguments, **equation.params)
    module: Any = jax.jit(primitive, keep_unused=True).lower(*shapes).compiler_ir("stablehlo")
    functions = {operation.attributes["sym_name"].value: operation for operation in module.body.operations}
    return jax.make_jaxpr(lambda *arguments: _call(functions, "main", arguments))(*shapes)


def _call(functions: Mapping[str, Any], name: str, arguments: Sequence[Any]) -> list[Any]:
    (region,) = functions[name].regions
    return _run(functions, region, arguments)


def _run(functions: Mapping[str, Any], region: Any, arguments: Sequence[Any]) -> list[Any]:
    """The values that a region of operations returns."""
    (block,) = region.blocks
    values = dict(zip(block.arguments, arguments, strict=True))
    for operation in block.operations:
        operands = [values[operand] for operand in operation.operands]
        name = operation.operation.name.partition(".")[2]
        if name == "return":
            return operands
        if name == "call":
            results = _call(functions, operation.attributes["callee"].value, operands)
        elif name == "composite":
            results = _call(functions, operation.attributes["decomposition"].value, operands)
        elif name in ("reduce", "reduce_window"):
            combine = functools.partial(_run, functions, operation.regions[0])
            results = (_reduce if name == "reduce" else _reduce_window)(operation, operands, combine)
        else:
            results = [_apply(name, operation, operands)]
        values |= zip(operation.results, results, strict=True)
    raise UnknownOperation("a region without a result")


def _apply(name: str, operation: Any, operands: list[Any]) -> Any:
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](*operands)
    attributes, shape = operation.attributes, tuple(operation.results[0].type.shape)
    dtype = _DTYPES.get(str(operation.results[0].type.element_type))
    if dtype is None:
        raise UnknownOperation(f"{name} of {operation.results[0].type}")
    match name:
        case "constant":
            return np.asarray(list(attributes["value"]), dtype).reshape(shape)
        case "iota":
            return lax.broadcasted_iota(dtype, shape, int(attributes["iota_dimension"]))
        case "compare":
            (direction,) = re.findall(r"\b(EQ|NE|GE|GT|LE|LT)\b", str(attributes["comparison_direction"]))
            return _COMPARISONS[direction](*operands)
        case "convert":
            return lax.convert_element_type(operands[0], dtype)
        case "broadcast_in_dim":
            return lax.broadcast_in_dim(operands[0], shape, list(attributes["broadcast_dimensions"]))
        case "reshape":
            return lax.reshape(operands[0], shape)
        case "slice":
            start, limit, strides = (list(attributes[end]) for end in _SLICE)
            return lax.slice(operands[0], start, limit, strides)
        case "concatenate":
            return lax.concatenate(operands, int(attributes["dimension"]))
        case "transpose":
            return lax.transpose(operands[0], list(attributes["permutation"]))
        case "reverse":
            return lax.rev(operands[0], list(attributes["dimensions"]))
        case "pad":
            padding = zip(*(list(attributes[end]) for end in _PAD), strict=True)
            return lax.pad(operands[0], operands[1], list(padding))
    raise UnknownOperation(name)


_SLICE = ("start_indices", "limit_indices", "strides")
_PAD = ("edge_padding_low", "edge_padding_high", "interior_padding")
_Combine = Callable[[Sequence[Any]], list[Any]]


def _reduce(operation: Any, operands: list[Any], combine: _Combine) -> list[Any]:
    """A reduction over whole axes, number by number."""
    axes, count = list(operation.attributes["dimensions"]), len(operands) // 2
    shape = operation.results[0].type.shape
    arrays, results = operands[:count], [lax.broadcast(start, shape) for start in operands[count:]]
    for _ in shape:  # the region combines single numbers
        combine = jax.vmap(combine)
    for position in itertools.product(*(range(arrays[0].shape[axis]) for axis in axes)):
        parts = [lax.slice(array, *_line(array.shape, axes, position)) for array in arrays]
        results = combine([*results, *(lax.squeeze(part, axes) for part in parts)])
    return results


def _line(shape: Sequence[int], axes: Sequence[int], position: Sequence[int]) -> tuple[list[int], list[int]]:
    """Start and end of the slice at a position along some axes, and along all of the others."""
    at = dict(zip(axes, position, strict=True))
    return [at.get(i, 0) for i in range(len(shape))], [at.get(i, size - 1) + 1 for i, size in enumerate(shape)]


def _reduce_window(operation: Any, operands: list[Any], combine: _Combine) -> list[Any]:
    """A cumulative reduction: the window moves by one and has no holes."""
    attributes = operation.attributes
    ones = ("base_dilations", "window_dilations", "window_strides")
    if len(operands) != 2 or any(set(attributes[name]) != {1} for name in ones if name in attributes):
        raise UnknownOperation("reduce_window with strides")
    array, start = operands
    padding = np.zeros((array.ndim, 2), int)
    if "padding" in attributes:
        padding = np.asarray(list(attributes["padding"])).reshape(array.ndim, 2)
    padded = lax.pad(array, start, [(int(low), int(high), 0) for low, high in padding])
    shape = tuple(operation.results[0].type.shape)
    result = lax.broadcast(start, shape)
    for _ in shape:  # the region combines single numbers
        combine = jax.vmap(combine)
    for offset in itertools.product(*map(range, attributes["window_dimensions"])):
        part = lax.slice(padded, offset, [o + size for o, size in zip(offset, shape, strict=True)])
        (result,) = combine([result, part])
    return [result]
