"""Pointwise derivatives of a field, in forward mode: one column of ``jax.jacfwd`` an axis.

A PDE needs a few directional derivatives of a function with few inputs and, for systems, several outputs. One
``jax.jvp`` along an axis gives that derivative of every output at once; nested ``jax.grad`` pays a reverse pass for
each output, and ``jacfwd(jacfwd(u))`` pays for every mixed derivative nobody asked for.
``benchmarks/derivatives.py`` measures the three.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..base.types import Field


def _along(u: Field, z: Float[Array, " d"], axis: int) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    direction = jnp.zeros_like(z).at[axis].set(1)
    return jax.jvp(u, (z,), (direction,))


def derivative(u: Field, axis: int) -> Field:
    """∂u/∂z_axis as a field again, so that it composes: ``derivative(derivative(u, X), X)`` is uₓₓ.

    Args:
        u: a field, (d,) -> (m,).
        axis: which of the d inputs, counted as in ``Problem.axes``.

    Returns:
        The field z -> ∂u/∂z_axis, (d,) -> (m,), in the units of u over those of the axis.
    """

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
    """(u, ∂u/∂z_axis, ∂²u/∂z_axis²) at z in one pass: a quarter cheaper than composing ``derivative`` twice."""
    return _twice_along(u, z, jnp.zeros_like(z).at[axis].set(1))


def two_derivatives_along(
    u: Field, z: Float[Array, " d"], axes: tuple[int, ...]
) -> tuple[Float[Array, " m"], Float[Array, "a m"], Float[Array, "a m"]]:
    """u, and first and second derivatives along each of ``axes`` as rows: ``two_derivatives`` as one batch.

    It is compiled once, a quarter faster where u wraps the network in much arithmetic (lid_driven_cavity); a Jacobian
    of the residual with respect to the parameters is slower by a third than with one axis after the other.
    """
    directions = jnp.eye(len(z), dtype=z.dtype)[jnp.asarray(axes)]
    value, slopes, curvatures = jax.vmap(lambda direction: _twice_along(u, z, direction))(directions)
    return value[0], slopes, curvatures


def laplacian(u: Field, axes: tuple[int, ...]) -> Field:
    """Δu = Σ ∂²u/∂z_a² over the given axes (the space axes: time is not one of them), component by component."""

    def u_laplacian(z: Float[Array, " d"]) -> Float[Array, " m"]:
        return jnp.sum(jnp.stack([two_derivatives(u, z, axis)[2] for axis in axes]), axis=0)

    return u_laplacian


def divergence(u: Field, axes: tuple[int, ...]) -> Field:
    """∇·u = Σᵢ ∂uᵢ/∂z_axes[i]: component i of u is differentiated along the i-th of ``axes``. Values (1,)."""

    def u_divergence(z: Float[Array, " d"]) -> Float[Array, " 1"]:
        return jnp.sum(jnp.stack([_along(u, z, axis)[1][i] for i, axis in enumerate(axes)]), keepdims=True)

    return u_divergence
