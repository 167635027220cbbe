"""Residuals of the usual conditions: Dirichlet (initial values too), Neumann, periodic, and measured data."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike

from ..base.types import Coefficients, Field, is_traced
from .derivatives import derivative
from .problem import Residual, Term

#: What a condition prescribes: a number (for every field), or ``(z, coefficients) -> (m,)``.
Value = float | Callable[[Array, Any], Array]


def _at(value: Value, z: Array, c: Coefficients) -> Array | float:
    return value(z, c) if callable(value) else value


def _chosen(u: Array, fields: Sequence[int] | None) -> Array:
    return u if fields is None else u[jnp.asarray(fields)]


def dirichlet(value: Value, fields: Sequence[int] | None = None) -> Residual:
    """u = value, for all fields or those numbered in ``fields``. An initial condition is one on the face t = 0."""

    def residual(u: Field, z: Array, c: Coefficients) -> Array:
        return _chosen(u(z), fields) - _at(value, z, c)

    return residual


def neumann(axis: int, value: Value, fields: Sequence[int] | None = None) -> Residual:
    """∂u/∂z_axis = value, the derivative along the axis (on a lower face the outward normal is its negative)."""

    def residual(u: Field, z: Array, c: Coefficients) -> Array:
        return _chosen(derivative(u, axis)(z), fields) - _at(value, z, c)

    return residual


def periodic_condition(axis: int, period: float, derivatives: int = 1) -> Residual:
    """u and its first ``derivatives`` normal derivatives agree at z and z + period along the axis; sample one face."""

    def residual(u: Field, z: Array, c: Coefficients) -> Array:
        across = z.at[axis].add(period)
        differences, field = [], u
        for order in range(derivatives + 1):
            field = derivative(field, axis) if order else field
            differences.append(field(z) - field(across))
        return jnp.concatenate(differences)

    return residual


def _pick(z: Array, values: Array, key: Array, n: int) -> Array:
    rows = jnp.concatenate([z, values], axis=1)
    return rows if n == len(rows) else rows[jax.random.choice(key, len(rows), (n,), replace=n > len(rows))]


@functools.cache  # one function for each d, so that new rows of the same shape do not trace anew
def row_misfit(d: int) -> Residual:
    """u(z) − values at rows (z, values), z of d coordinates."""

    def residual(u: Field, row: Array, c: Coefficients) -> Array:
        return u(row[:d]) - row[d:]

    return residual


def data(z: ArrayLike, values: ArrayLike, count: int | None = None) -> Term:
    """A term of measured values: u(zᵢ) = valuesᵢ.

    Args:
        z: (N, d) coordinates; values: (N, m), one column a field.
        count: how many of them a draw takes; default all, in their order.

    Raises:
        ValueError: shapes do not fit, or a number is not finite.
    """
    z, values = (array if isinstance(array, Array) else np.asarray(array) for array in (z, values))
    if z.ndim != 2 or values.ndim != 2 or len(z) != len(values) or not len(z):
        raise ValueError(f"data: z has shape {z.shape} and values {values.shape}; expected (N, d) and (N, m), N ≥ 1")
    if not is_traced(z, values) and not all(np.isfinite(np.asarray(array)).all() for array in (z, values)):
        raise ValueError("data: z or values hold NaN or infinity; remove those rows")
    return Term(Partial(_pick, jnp.asarray(z), jnp.asarray(values)), row_misfit(z.shape[1]), count or len(z))
