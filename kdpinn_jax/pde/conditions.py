"""The usual conditions: Dirichlet (which includes initial values), Neumann, Robin, interfaces and periodicity.

Each is a value, which can be compared, hashed, copied and pickled. Those that involve the normal derivative are sampled
with normals, which ``domain.boundary(normals=True)`` and ``kd.faces(normals=True)`` add to the coordinates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ..base.types import Coefficients, Field, Residual
from .derivatives import derivative
from .prescribed import Fields, Value, checked_fields, checked_value, values_at, with_field_indices


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
    return _Prescribed("dirichlet", None, checked_value("dirichlet", value), checked_fields("dirichlet", fields))


def neumann(value: Value, fields: Fields | None = None, *, axis: int | None = None) -> Residual:
    """The condition ∂u/∂n = value, or ∂u/∂z_axis = value.

    Args:
        value: in the units of the derivative, one number, k numbers or ``(z, coefficients) -> (k,)``.
        fields: the k constrained fields, by name or index; None for all.
        axis: the derivative is along this axis instead of the outward normal, and the sampler needs no normals.

    Returns:
        The residual ∂u/∂n − value, (k,).

    Raises:
        ValueError: as ``dirichlet``; when the term is trained, also a sampler without normals.
    """
    checked = checked_value("neumann", value), checked_fields("neumann", fields)
    return _Normal("neumann", 0.0, 1.0, *checked) if axis is None else _Prescribed("neumann", int(axis), *checked)


def robin(alpha: Value, beta: Value, value: Value, fields: Fields | None = None) -> Residual:
    """The condition α u + β ∂u/∂n = value with the outward normal n.

    The flux −k ∂u/∂n = h (u − u₀) through a wall is ``robin(h, k, h * u0)``.

    Args:
        alpha: one number, k numbers or ``(z, coefficients) -> (k,)``.
        beta: likewise, in units of length if α has none.
        value: likewise, in the units of α u.
        fields: the k constrained fields, by name or index; None for all.

    Returns:
        The residual α u + β ∂u/∂n − value, (k,).

    Raises:
        ValueError: as ``neumann``.
    """
    alpha, beta, value = (checked_value("robin", number) for number in (alpha, beta, value))
    return _Normal("robin", alpha, beta, value, checked_fields("robin", fields))


def interface(
    fields: Sequence[str] | Sequence[int],
    conductivities: Sequence[Value],
    *,
    jump: Value = 0.0,
    flux: Value = 0.0,
) -> Residual:
    """The conditions at an interface between two materials, each of which has a field of its own.

        u₁ − u₂ = jump,    k₁ ∂u₁/∂n − k₂ ∂u₂/∂n = flux

    Args:
        fields: the two fields, by name or index.
        conductivities: k₁ and k₂, numbers or ``(z, coefficients) -> number``; they may jump at the interface.
        jump: of the value, in the units of u.
        flux: the source on the interface, in the units of k ∂u/∂n. Its sign depends on the direction of the normal.

    Returns:
        The two residuals, (2,).

    Raises:
        ValueError: there are not two fields or two conductivities; otherwise as ``neumann``.
    """
    two = checked_fields("interface", fields)
    if two is None or len(two) != 2 or len(conductivities) != 2:
        raise ValueError(
            f"interface: fields={fields!r} and conductivities={conductivities!r} must be two each, one per side"
        )
    first, second = (checked_value("interface", k) for k in conductivities)
    return _Interface(two, first, second, checked_value("interface", jump), checked_value("interface", flux))


@dataclass(frozen=True)
class _Prescribed:
    """Fields, or their derivatives along an axis, minus prescribed values."""

    condition: str
    axis: int | None
    value: Any
    fields: tuple[str | int, ...] | None
    for_fields = with_field_indices

    def __call__(self, u: Field, z: Array, c: Coefficients) -> Array:
        field = u if self.axis is None else derivative(u, self.axis)
        values = _chosen(field(z), self.fields)
        return values - values_at(self.condition, self.value, z, c, values)


@dataclass(frozen=True)
class _Normal:
    """α u + β ∂u/∂n − value, at rows (z, n)."""

    condition: str
    alpha: Any
    beta: Any
    value: Any
    fields: tuple[str | int, ...] | None
    needs_normals = True
    for_fields = with_field_indices

    def __call__(self, u: Field, row: Array, c: Coefficients) -> Array:
        z, normal = jnp.split(row, 2)
        value, slope = (_chosen(part, self.fields) for part in jax.jvp(u, (z,), (normal,)))
        alpha, beta, prescribed = (
            values_at(self.condition, number, z, c, slope) for number in (self.alpha, self.beta, self.value)
        )
        return alpha * value + beta * slope - prescribed


@dataclass(frozen=True)
class _Interface:
    fields: tuple[str | int, ...]
    first: float | Callable[[Array, Coefficients], Array]
    second: float | Callable[[Array, Coefficients], Array]
    jump: float | Callable[[Array, Coefficients], Array]
    flux: float | Callable[[Array, Coefficients], Array]
    condition = "interface"
    needs_normals = True
    for_fields = with_field_indices

    def __call__(self, u: Field, row: Array, c: Coefficients) -> Array:
        z, normal = jnp.split(row, 2)
        (a, b), (slope_a, slope_b) = (_chosen(part, self.fields) for part in jax.jvp(u, (z,), (normal,)))
        first, second, jump, flux = (
            jnp.reshape(values_at(self.condition, number, z, c, a[None]), ())
            for number in (self.first, self.second, self.jump, self.flux)
        )
        return jnp.stack([a - b - jump, first * slope_a - second * slope_b - flux])


def _chosen(values: Array, fields: tuple[str | int, ...] | None) -> Array:
    return values if fields is None else values[jnp.asarray(fields)]


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
