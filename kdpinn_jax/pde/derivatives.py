"""Pointwise derivatives of a field in forward mode: one column of ``jax.jacfwd`` per axis.

A PDE needs a few directional derivatives of a function with few inputs and, for systems, several outputs. One
``jax.jvp`` along an axis gives the derivative of every output at once. Nested ``jax.grad`` needs a reverse pass for
each output, and ``jacfwd(jacfwd(u))`` computes every mixed derivative, needed or not. ``benchmarks/derivatives.py``
compares the three.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..base.types import Field

#: Derivatives along more axes than this are one batch: the field is then compiled once, where a hundred copies of it
#: take minutes to compile.
MOST_UNROLLED = 6


def _unit(z: Float[Array, " d"], axis: int) -> Float[Array, " d"]:
    """The unit vector along an axis."""
    return jnp.zeros_like(z).at[_existing(z, axis)].set(1)


def _units(z: Float[Array, " d"], axes: tuple[int, ...]) -> Float[Array, "a d"]:
    """The unit vectors along several axes, as one operation."""
    return jnp.eye(len(z), dtype=z.dtype)[jnp.asarray([_existing(z, axis) for axis in axes])]


def _existing(z: Float[Array, " d"], axis: int) -> int:
    if not -len(z) <= axis < len(z):
        raise ValueError(f"derivative: axis={axis} does not exist; the point has {len(z)} coordinates, counted from 0")
    return axis


def _along(u: Field, z: Float[Array, " d"], axis: int) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    return jax.jvp(u, (z,), (_unit(z, axis),))


def derivative(u: Field, axis: int) -> Field:
    """The derivative ∂u/∂z_axis, itself a field: ``derivative(derivative(u, X), X)`` is uₓₓ.

    Args:
        u: a field, (d,) -> (m,).
        axis: the index of an input, as in ``Problem.axes``.

    Returns:
        The field z -> ∂u/∂z_axis, (d,) -> (m,), in the units of u per unit of the axis.

    Raises:
        ValueError: u is a value instead of a function, or the axis is a name or does not exist.
    """

    if not callable(u) or isinstance(axis, str):
        raise ValueError(
            f"derivative: u must be a function of a point and axis={axis!r} an index, as in derivative(u, 0)(z); not "
            "derivative(u(z), 0)"
        )

    def u_axis(z: Float[Array, " d"]) -> Float[Array, " m"]:
        return _along(u, z, axis)[1]

    return u_axis


def _twice_along(u: Field, z: Float[Array, " d"], direction: Float[Array, " d"]) -> tuple[Array, Array, Array]:
    def value_and_slope(z: Float[Array, " d"]) -> tuple[Array, Array]:
        return jax.jvp(u, (z,), (direction,))

    (value, slope), (_, curvature) = jax.jvp(value_and_slope, (z,), (direction,))
    return value, slope, curvature


def two_derivatives(
    u: Field, z: Float[Array, " d"], axis: int
) -> tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, " m"]]:
    """u, ∂u/∂z_axis and ∂²u/∂z_axis² at z in one pass: a quarter cheaper than composing ``derivative`` twice.

    Args:
        u: a field, (d,) -> (m,).
        z: (d,), the point.
        axis: the index of an input, as in ``Problem.axes``.

    Returns:
        Three arrays (m,).
    """
    return _twice_along(u, z, _unit(z, axis))


def two_derivatives_along(
    u: Field, z: Float[Array, " d"], axes: tuple[int, ...]
) -> tuple[Float[Array, " m"], Float[Array, "a m"], Float[Array, "a m"]]:
    """u, and its first and second derivatives along several axes: ``two_derivatives`` as one batch.

    Compared with a call of ``two_derivatives`` for each axis, the field is compiled only once, and the evaluation is a
    quarter faster if u adds much arithmetic to the network (lid_driven_cavity). A Jacobian of the residual with respect
    to the parameters is slower by a third.

    Args:
        u: a field, (d,) -> (m,).
        z: (d,), the point.
        axes: the indices of a inputs, as in ``Problem.axes``.

    Returns:
        u (m,), ∂u/∂z_axis (a, m) and ∂²u/∂z_axis² (a, m), one row per axis.
    """
    value, slopes, curvatures = jax.vmap(lambda direction: _twice_along(u, z, direction))(_units(z, axes))
    return value[0], slopes, curvatures


def laplacian(u: Field, axes: tuple[int, ...]) -> Field:
    """The Laplacian Δu = Σ_a ∂²u/∂z_a², component by component.

    Args:
        u: a field, (d,) -> (m,).
        axes: the indices of the space axes; time is not one of them.

    Returns:
        The field z -> Δu, (d,) -> (m,).
    """

    def u_laplacian(z: Float[Array, " d"]) -> Float[Array, " m"]:
        if len(axes) > MOST_UNROLLED:
            return jnp.sum(two_derivatives_along(u, z, tuple(axes))[2], axis=0)
        return jnp.sum(jnp.stack([two_derivatives(u, z, axis)[2] for axis in axes]), axis=0)

    return u_laplacian


def divergence(u: Field, axes: tuple[int, ...]) -> Field:
    """The divergence ∇·u = Σᵢ ∂uᵢ/∂z_axes[i].

    Args:
        u: a field, (d,) -> (m,).
        axes: component i of u is differentiated along ``axes[i]``.

    Returns:
        The field z -> ∇·u, (d,) -> (1,).
    """

    def u_divergence(z: Float[Array, " d"]) -> Float[Array, " 1"]:
        if len(axes) > MOST_UNROLLED:
            slopes = jax.vmap(lambda direction: jax.jvp(u, (z,), (direction,))[1])(_units(z, axes))
            return jnp.sum(jnp.diagonal(slopes), keepdims=True)
        return jnp.sum(jnp.stack([_along(u, z, axis)[1][i] for i, axis in enumerate(axes)]), keepdims=True)

    return u_divergence
