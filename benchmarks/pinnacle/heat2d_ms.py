"""uₜ = uₓₓ/(500π)² + u_yy/π² on [0, 1]², t ≤ 5, u = 0 on the boundary; u = sin 20πx sin πy e^(−1.0016 t)."""

import jax.numpy as jnp

import kdpinn_jax as kd

T, X, Y = 0, 1, 2
SQUARE = kd.geometry.rectangle((0, 0), (1, 1)).over(0, 5)


def residual(u, z, c):
    u_xx, u_yy = kd.two_derivatives(u, z, X)[2], kd.two_derivatives(u, z, Y)[2]
    return kd.derivative(u, T)(z) - u_xx / (500 * jnp.pi) ** 2 - u_yy / jnp.pi**2


def exact(z):
    return jnp.sin(20 * jnp.pi * z[X:Y]) * jnp.sin(jnp.pi * z[Y:]) * jnp.exp(-1.0016 * z[T])


problem = kd.Problem(
    name="heat2d_ms",
    axes=("t", "x", "y"),
    fields=("u",),
    lower=SQUARE.lower,
    upper=SQUARE.upper,
    terms={
        "residual": kd.Term(SQUARE.interior(), residual),
        "initial": kd.Term(SQUARE.initial(), kd.dirichlet(lambda z, c: exact(z)), count=512),
        "boundary": kd.Term(SQUARE.boundary(), kd.dirichlet(0.0), count=512),
    },
    reference=lambda c: exact,
)
