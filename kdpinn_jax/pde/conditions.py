"""The usual conditions: Dirichlet (which includes initial values), Neumann, periodic, and measured data."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike

from ..base.types import Coefficients, Field, Key, Residual, is_traced
from .derivatives import derivative
from .problem import Term

#: A prescribed value: one number for all constrained fields, or ``(z, coefficients) -> (k,)``, one value for each.
Value = float | Callable[[Array, Coefficients], Array]


def _evaluate(value: Value, z: Array, c: Coefficients) -> Array | float:
    return value(z, c) if callable(value) else value


def _select(u: Array, fields: Sequence[int] | None) -> Array:
    return u if fields is None else u[jnp.asarray(fields)]


def dirichlet(value: Value, fields: Sequence[int] | None = None) -> Residual:
    """The condition u = value; an initial condition is a Dirichlet condition on the face t = 0.

    Args:
        value: in the units of u, a number or ``(z, coefficients) -> (k,)``.
        fields: the indices of the k constrained fields; None for all.

    Returns:
        The residual u − value, (k,).
    """

    def residual(u: Field, z: Array, c: Coefficients) -> Array:
        return _select(u(z), fields) - _evaluate(value, z, c)

    return residual


def neumann(axis: int, value: Value, fields: Sequence[int] | None = None) -> Residual:
    """The condition ∂u/∂z_axis = value.

    Args:
        axis: the derivative is along this axis; on a lower face the outward normal derivative is its negative.
        value: in the units of the derivative, a number or ``(z, coefficients) -> (k,)``.
        fields: the indices of the k constrained fields; None for all.

    Returns:
        The residual ∂u/∂z_axis − value, (k,).
    """

    def residual(u: Field, z: Array, c: Coefficients) -> Array:
        return _select(derivative(u, axis)(z), fields) - _evaluate(value, z, c)

    return residual


def periodic_condition(axis: int, period: float, derivatives: int = 1) -> Residual:
    """The condition that u and its normal derivatives agree on two opposite faces; sample the lower face.

    Args:
        axis: the periodic axis.
        period: in the units of the axis.
        derivatives: the number of normal derivatives that must agree.

    Returns:
        The residual ∂ʲu/∂z_axisʲ(z) − ∂ʲu/∂z_axisʲ(z + period), j = 0…derivatives, of shape (m (derivatives + 1),).
    """

    def residual(u: Field, z: Array, c: Coefficients) -> Array:
        opposite = z.at[axis].add(period)
        differences, field = [], u
        for order in range(derivatives + 1):
            field = derivative(field, axis) if order else field
            differences.append(field(z) - field(opposite))
        return jnp.concatenate(differences)

    return residual


def _sample_rows(z: Array, values: Array, key: Key, n: int) -> Array:
    """Rows (z, values): all of them in their order if there are n, otherwise a random choice of n."""
    rows = jnp.concatenate([z, values], axis=1)
    return rows if n == len(rows) else rows[jax.random.choice(key, len(rows), (n,), replace=n > len(rows))]


@functools.cache  # one function for each d, so that jit does not trace again for other rows of the same shape
def row_misfit(d: int) -> Residual:
    """The residual u(z) − values at rows (z, values), where z has d coordinates."""

    def residual(u: Field, row: Array, c: Coefficients) -> Array:
        return u(row[:d]) - row[d:]

    return residual


def data(z: ArrayLike, values: ArrayLike, count: int | None = None) -> Term:
    """A term of measured values: u(zᵢ) = valuesᵢ.

    Args:
        z: (N, d), coordinates.
        values: (N, m), one column per field, in the units of u.
        count: the number of measurements in each draw; default all, in their order.

    Raises:
        ValueError: the shapes do not fit, or a number is not finite.
    """
    z, values = (array if isinstance(array, Array) else np.asarray(array) for array in (z, values))
    if z.ndim != 2 or values.ndim != 2 or len(z) != len(values) or not len(z):
        raise ValueError(f"data: z has shape {z.shape} and values {values.shape}; expected (N, d) and (N, m), N ≥ 1")
    if not is_traced(z, values) and not all(np.isfinite(np.asarray(array)).all() for array in (z, values)):
        raise ValueError("data: z or values contain NaN or infinity; remove those rows")
    return Term(Partial(_sample_rows, jnp.asarray(z), jnp.asarray(values)), row_misfit(z.shape[1]), count or len(z))
