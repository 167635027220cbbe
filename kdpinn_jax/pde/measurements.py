"""Terms of measured values."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike

from ..base.types import Coefficients, Field, Key, is_traced
from .prescribed import Fields, checked_fields, with_field_indices
from .problem import Term


def data(z: ArrayLike, values: ArrayLike, count: int | None = None, *, fields: Fields | None = None) -> Term:
    """A term of measured values: u(zᵢ) = valuesᵢ.

    Args:
        z: (N, d), coordinates.
        values: (N, k), one column per measured field, in the units of u. NaN marks a value that was not measured; it
            adds nothing to the loss.
        count: the number of measurements in each draw; default all, in their order.
        fields: the k measured fields, by name or index; None for all.

    Raises:
        ValueError: the shapes do not fit, a coordinate is not finite, a value is infinite, or all values are NaN; when
            the term is trained, also another number of columns than fields.
    """
    z, values = (array if isinstance(array, Array) else np.asarray(array) for array in (z, values))
    if z.ndim != 2 or values.ndim != 2 or len(z) != len(values) or not len(z):
        raise ValueError(f"data: z has shape {z.shape} and values {values.shape}; expected (N, d) and (N, k), N ≥ 1")
    if not all(jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.kind in "iu" for array in (z, values)):
        raise ValueError(f"data: z is of type {z.dtype} and values of type {values.dtype}; expected real numbers")
    if not is_traced(z) and not np.isfinite(np.asarray(z)).all():
        raise ValueError("data: z contains NaN or infinity; remove those rows")
    if not is_traced(values):
        if np.isinf(np.asarray(values)).any():
            raise ValueError("data: values contain infinity; remove those rows, or write NaN if nothing was measured")
        if np.isnan(np.asarray(values)).all():
            raise ValueError("data: all values are NaN; give at least one measured value")
    gaps = is_traced(values) or bool(np.isnan(np.asarray(values)).any())
    misfit = _Misfit(z.shape[1], checked_fields("data", fields), gaps)
    return Term(Partial(_sample_rows, jnp.asarray(z), jnp.asarray(values)), misfit, count or len(z))


def _sample_rows(z: Array, values: Array, key: Key, n: int) -> Array:
    """Rows (z, values): all of them in their order if there are n, otherwise a random choice of n."""
    rows = jnp.concatenate([z, values], axis=1)
    return rows if n == len(rows) else rows[jax.random.choice(key, len(rows), (n,), replace=n > len(rows))]


@dataclass(frozen=True)
class _Misfit:
    d: int
    fields: tuple[str | int, ...] | None
    gaps: bool  # whether values are missing; without them, no mask is computed
    condition = "data"
    for_fields = with_field_indices

    def __call__(self, u: Field, row: Array, c: Coefficients) -> Array:
        values = u(row[: self.d]) if self.fields is None else u(row[: self.d])[jnp.asarray(self.fields)]
        measured = row[self.d :]
        if measured.shape != values.shape:
            raise ValueError(
                f"data: values are of shape (N, {len(measured)}) for {len(values)} fields; give one column per field, "
                "or name the fields that were measured: data(z, values, fields=('u',))"
            )
        if not self.gaps:
            return values - measured
        missing = jnp.isnan(measured)
        return jnp.where(missing, 0.0, values - jnp.where(missing, 0.0, measured))
