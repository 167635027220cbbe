"""Burgers' equation by the Cole–Hopf transformation and Gauss–Hermite quadrature."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ...base.types import Field
from ..burgers import T, X

#: Nodes of the quadrature. For ν = 0.01/π, 100 agree with 200 to 1e-12 (tests/test_references.py); the rest is a margin
#: for smaller ν, for which exp(−cos πy / 2πν) is sharper.
NODES = 160


def burgers(coefficients: Mapping[str, Any], nodes: int = NODES) -> Field:
    """The exact solution of uₜ + u uₓ = ν uₓₓ with u(0, x) = −sin πx on the real line (zero at x = ±1 by symmetry).

        u(t, x) = −∫ sin(πy) f(y) e^{−η²/4νt} dη / ∫ f(y) e^{−η²/4νt} dη,   y = x − η,   f(y) = e^{−cos(πy)/2πν},

    with η = √(4νt) ξ and Gauss–Hermite nodes ξ. The largest value of log f is subtracted, so that no exponential
    overflows. Source: Basdevant et al. (1986), eq. 2.4.
    """
    nu = coefficients["nu"]
    xi, weight = np.polynomial.hermite.hermgauss(nodes)

    def u(z: Float[Array, " 2"]) -> Float[Array, " 1"]:
        y = z[X] - jnp.sqrt(4 * nu * z[T]) * jnp.asarray(xi, z.dtype)
        log_f = -jnp.cos(jnp.pi * y) / (2 * jnp.pi * nu)
        f = jnp.asarray(weight, z.dtype) * jnp.exp(log_f - jnp.max(log_f))
        return -jnp.sum(jnp.sin(jnp.pi * y) * f, keepdims=True) / jnp.sum(f, keepdims=True)

    return u
