"""Operations on arrays of elements and constants, each of which adds nodes to a program.

An integer that depends on the point is a number without a fraction. Programs compute with it as with any other number.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from .build import WIDE, ProgramBuilder, Scalar, as_scalar, is_constant, scalar_array
from .program import Element


def pointwise(
    builder: ProgramBuilder, operation: str, values: Sequence[np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """An operation in ``POINTWISE`` at each position, with scalars broadcast to the shape."""
    full = [np.broadcast_to(value, shape) for value in values]
    if not shape or shape[-1] < WIDE:
        groups = zip(*(value.reshape(-1) for value in full), strict=True)
        return scalar_array([builder.number(operation, list(map(as_scalar, g))) for g in groups], shape)
    groups = zip(*(value.reshape(-1, shape[-1]) for value in full), strict=True)
    return scalar_array([item for rows in groups for item in builder.vector(operation, rows)], shape)


def select(
    builder: ProgramBuilder, index: np.ndarray, cases: Sequence[np.ndarray], shape: tuple[int, ...], dtype: DTypeLike
) -> np.ndarray:
    """The case with the given number at each position; the index is a condition, or an integer of at least 0."""
    if dtype == np.bool_:  # a program selects numbers only
        numbers = [convert(builder, case, np.float64) for case in cases]
        return convert(builder, select(builder, index, numbers, shape, np.float64), np.bool_)
    if len(cases) == 2 and _are_conditions(builder, index):
        return pointwise(builder, "select_n", [index, *cases], shape)
    result = cases[-1]
    for number, case in reversed(list(enumerate(cases[:-1]))):
        here = pointwise(builder, "eq", [convert(builder, index, np.float64), np.asarray(float(number))], index.shape)
        result = pointwise(builder, "select_n", [here, result, case], shape)
    return result


def convert(builder: ProgramBuilder, value: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Conditions as the numbers 0 and 1, numbers as conditions, or numbers without their fraction.

    Numbers are not rounded to float32: the program is evaluated in either precision.
    """

    def converted(item: Scalar) -> Scalar:
        if _is_condition(builder, item):
            return item if dtype == np.bool_ else builder.number("select_n", [item, 0.0, 1.0])
        if dtype == np.bool_:
            return builder.number("ne", [item, 0.0])
        if np.issubdtype(dtype, np.integer) and not _is_whole(builder, item):
            negative, ends = builder.number("lt", [item, 0.0]), ("floor", "ceil")
            return builder.number("select_n", [negative, *(builder.number(end, [item]) for end in ends)])
        return item if isinstance(item, Element) else float(item)

    return scalar_array([converted(as_scalar(item)) for item in value.reshape(-1)], value.shape)


def _is_condition(builder: ProgramBuilder, item: Scalar) -> bool:
    return builder.nodes[item.node].boolean if isinstance(item, Element) else isinstance(item, bool)


def _are_conditions(builder: ProgramBuilder, array: np.ndarray) -> bool:
    return all(_is_condition(builder, as_scalar(item)) for item in array.reshape(-1))


def _is_whole(builder: ProgramBuilder, item: Scalar) -> bool:
    """Whether a number is known to have no fraction, because it is rounded already."""
    if isinstance(item, Element):
        return builder.nodes[item.node].operation in ("floor", "ceil", "rint", "round", "sign")
    return float(item).is_integer()


def power(builder: ProgramBuilder, x: np.ndarray, exponent: int) -> np.ndarray:
    """x to an integer power by repeated squaring."""
    multiply = lambda a, b: pointwise(builder, "mul", [a, b], x.shape)
    result, square, remaining = None, x, abs(exponent)
    while remaining:
        if remaining & 1:
            result = square if result is None else multiply(result, square)
        remaining >>= 1
        square = multiply(square, square) if remaining else square
    if result is None:
        return np.ones(x.shape)
    return pointwise(builder, "div", [np.asarray(1.0), result], x.shape) if exponent < 0 else result


def polynomial(
    builder: ProgramBuilder, x: np.ndarray, coefficients: Sequence[np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """Σ cᵢ xⁱ by Horner's rule."""
    if not coefficients:
        return np.zeros(shape)
    value = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = pointwise(builder, "add", [c, pointwise(builder, "mul", [x, value], shape)], shape)
    return np.broadcast_to(value, shape)


def reduce(builder: ProgramBuilder, operation: str, value: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The reduction of an array along some axes."""
    kept = tuple(size for axis, size in enumerate(value.shape) if axis not in axes)
    rows = np.moveaxis(value, axes, range(-len(axes), 0)).reshape(*kept, -1)
    slices = [rows[..., i] for i in range(rows.shape[-1])]
    return functools.reduce(lambda a, b: pointwise(builder, operation, [a, b], kept), slices)


def dot_general(builder: ProgramBuilder, a: np.ndarray, b: np.ndarray, dimension_numbers: Any) -> np.ndarray:
    """The product of ``jax.lax.dot_general``: batched axes first, then the other axes of a and of b."""
    contracted, batched = dimension_numbers
    matrices, shape = [], [a.shape[axis] for axis in batched[0]]
    batches = int(np.prod(shape, dtype=int))
    for array, summed, shared in zip((a, b), contracted, batched, strict=True):
        free = [axis for axis in range(array.ndim) if axis not in (*summed, *shared)]
        shape += [array.shape[axis] for axis in free]
        size = int(np.prod([array.shape[axis] for axis in summed], dtype=int))
        count = int(np.prod([array.shape[axis] for axis in free], dtype=int))
        matrices.append(array.transpose(*shared, *free, *summed).reshape(batches, count, size))
    items = [item for left, right in zip(*matrices, strict=True) for item in _matrix_product(builder, left, right)]
    return scalar_array(items, tuple(shape))


def _matrix_product(builder: ProgramBuilder, left: np.ndarray, right: np.ndarray) -> list[Scalar]:
    """The items of left @ rightᵀ, row by row."""
    if is_constant(left):
        columns = [builder.times_matrix(row, left.T) for row in right]
        return [as_scalar(column[i]) for i in range(len(left)) for column in columns]
    if is_constant(right):
        return [as_scalar(item) for row in left for item in builder.times_matrix(row, right.T)]
    return [builder.sum_of_products(x, y) for x in left for y in right]


def scatter(
    builder: ProgramBuilder,
    operation: str,
    array: np.ndarray,
    indices: np.ndarray,
    updates: np.ndarray,
    **options: Any,
) -> np.ndarray:
    """Combine items of an array with updates, as ``x.at[i].add(y)`` does.

    Args:
        builder: collects the nodes.
        operation: combines an item and an update.
        array: the items.
        indices: constants, as ``jax.lax.scatter`` takes them.
        updates: what is combined with the items at the indices.
        options: those of ``jax.lax.scatter``.
    """
    items = list(map(as_scalar, array.reshape(-1)))
    for place, update in enumerate(map(as_scalar, updates.reshape(-1))):
        mark = np.zeros(updates.size)
        mark[place] = 1
        hits = jax.lax.scatter_add(jnp.zeros(array.shape), jnp.asarray(indices), mark.reshape(updates.shape), **options)
        for i in np.flatnonzero(np.asarray(hits)):
            items[i] = builder.number(operation, [items[i], update])
    return scalar_array(items, array.shape)
