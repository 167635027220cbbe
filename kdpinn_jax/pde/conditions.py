"""The usual conditions: Dirichlet (which includes initial values), Neumann, periodic, and measured data.

Each is a value, which can be compared, hashed, copied and pickled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike

from ..base.names import nearest
from ..base.types import Coefficients, Field, Key, Residual, is_traced
from .arguments import finite_floats
from .derivatives import derivative
from .problem import Term

#: A prescribed value: one number for all constrained fields, k numbers, or ``(z, coefficients) -> (k,)``.
Value = float | Sequence[float] | Callable[[Array, Coefficients], Array]
#: Some of the fields, by their names or their indices; one alone may be given without a tuple.
Fields = str | int | Sequence[str] | Sequence[int]


def dirichlet(value: Value, fields: Fields | None = None) -> Residual:
    """The condition u = value; an initial condition is a Dirichlet condition on the face t = 0.

    Args:
        value: in the units of u, one number, k numbers or ``(z, coefficients) -> (k,)``.
        fields: the k constrained fields, by name or index; None for all.

    Returns:
        The residual u − value, (k,).

    Raises:
        ValueError: value or fields is something else; when the term is trained, also a value of another length than
            the fields.
    """
    return _Prescribed("dirichlet", None, _checked_value("dirichlet", value), _checked_fields("dirichlet", fields))


def neumann(axis: int, value: Value, fields: Fields | None = None) -> Residual:
    """The condition ∂u/∂z_axis = value.

    Args:
        axis: the derivative is along this axis; on a lower face the outward normal derivative is its negative.
        value: in the units of the derivative, one number, k numbers or ``(z, coefficients) -> (k,)``.
        fields: the k constrained fields, by name or index; None for all.

    Returns:
        The residual ∂u/∂z_axis − value, (k,).

    Raises:
        ValueError: as ``dirichlet``.
    """
    return _Prescribed("neumann", int(axis), _checked_value("neumann", value), _checked_fields("neumann", fields))


@dataclass(frozen=True)
class _Prescribed:
    """Fields, or their derivatives along an axis, minus prescribed values."""

    condition: str
    axis: int | None
    value: float | tuple[float, ...] | Callable[[Array, Coefficients], Array]
    fields: tuple[str | int, ...] | None

    def __call__(self, u: Field, z: Array, c: Coefficients) -> Array:
        field = u if self.axis is None else derivative(u, self.axis)
        values = field(z) if self.fields is None else field(z)[jnp.asarray(self.fields)]
        prescribed = jnp.asarray(self.value(z, c) if callable(self.value) else self.value, values.dtype)
        if prescribed.ndim and prescribed.shape != values.shape:
            raise ValueError(
                f"{self.condition}: value has shape {prescribed.shape}; expected {values.shape}, one number for each "
                "constrained field"
            )
        return values - prescribed

    def for_fields(self, names: tuple[str, ...]) -> "_Prescribed":
        indices = _indices(self.condition, self.fields, names)
        return self if indices == self.fields else replace(self, fields=indices)


def periodic_condition(axis: int, period: float, derivatives: int = 1) -> Residual:
    """The condition that u and its normal derivatives agree on two opposite faces; sample the lower face.

    Args:
        axis: the periodic axis.
        period: in the units of the axis.
        derivatives: the number of normal derivatives that must agree.

    Returns:
        The residual ∂ʲu/∂z_axisʲ(z) − ∂ʲu/∂z_axisʲ(z + period), j = 0…derivatives, of shape (m (derivatives + 1),).
    """
    return _PeriodicCondition(int(axis), float(period), int(derivatives))


@dataclass(frozen=True)
class _PeriodicCondition:
    axis: int
    period: float
    derivatives: int

    def __call__(self, u: Field, z: Array, c: Coefficients) -> Array:
        opposite = z.at[self.axis].add(self.period)
        differences, field = [], u
        for order in range(self.derivatives + 1):
            field = derivative(field, self.axis) if order else field
            differences.append(field(z) - field(opposite))
        return jnp.concatenate(differences)


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
    misfit = _Misfit(z.shape[1], _checked_fields("data", fields), gaps)
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

    def for_fields(self, names: tuple[str, ...]) -> "_Misfit":
        indices = _indices("data", self.fields, names)
        return self if indices == self.fields else replace(self, fields=indices)


def _checked_value(what: str, value: Any) -> Any:
    """A function, a float, or a tuple of floats."""
    if callable(value) or is_traced(value):
        return value
    numbers = finite_floats(value)
    if numbers is None:
        raise ValueError(
            f"{what}: value={value!r} must be a finite number, one for each field, or a function of (z, coefficients)"
        )
    return numbers if np.ndim(value) else numbers[0]


def _checked_fields(what: str, fields: Fields | None) -> tuple[str | int, ...] | None:
    if fields is None:
        return None
    several = tuple(fields) if isinstance(fields, Sequence) and not isinstance(fields, str) else (fields,)
    if not several or any(
        isinstance(field, bool) or not isinstance(field, str | int | np.integer) for field in several
    ):
        raise ValueError(f"{what}: fields={fields!r} must be names or indices of fields, such as ('u',) or (0,)")
    return tuple(field if isinstance(field, str) else int(field) for field in several)


def _indices(what: str, fields: tuple[str | int, ...] | None, names: tuple[str, ...]) -> tuple[int, ...] | None:
    """The indices of fields in a problem whose fields have these names."""
    if fields is None:
        return None
    for field in fields:
        if isinstance(field, str) and field not in names:
            raise ValueError(f"{what}: field {field!r} is unknown{nearest(field, names)}; the fields are {names}")
        if isinstance(field, int) and not 0 <= field < len(names):
            raise ValueError(f"{what}: field {field} does not exist; the fields {names} have indices from 0")
    indices = tuple(names.index(field) if isinstance(field, str) else field for field in fields)
    if len(set(indices)) < len(indices):
        raise ValueError(f"{what}: fields={fields} names a field twice")
    return indices
