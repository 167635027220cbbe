"""The decaying Taylor–Green vortex."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ...base.types import Field
from ..taylor_green import T, X, Y


def taylor_green(coefficients: Mapping[str, Any]) -> Field:
    """The exact solution of the incompressible Navier–Stokes equations on the plane, z = (t, x, y) -> (u, v, p):

        u = −cos x sin y e^{−2νt},   v = sin x cos y e^{−2νt},   p = −¼ (cos 2x + cos 2y) e^{−4νt}.

    The constant of the pressure is such that p = 0 at x = y = π/4. Source: Taylor & Green (1937), the plane case.
    """
    nu = coefficients["nu"]

    def solution(z: Float[Array, " 3"]) -> Float[Array, " 3"]:
        t, x, y = z[T], z[X], z[Y]
        decay = jnp.exp(-2 * nu * t)
        u = -jnp.cos(x) * jnp.sin(y) * decay
        v = jnp.sin(x) * jnp.cos(y) * decay
        p = -(jnp.cos(2 * x) + jnp.cos(2 * y)) / 4 * decay**2
        return jnp.stack([u, v, p])

    return solution
