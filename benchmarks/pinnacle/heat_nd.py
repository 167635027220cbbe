"""uₜ = Δu/5 − (|x|²/5) u on the unit ball in five dimensions, t ≤ 1, with ∂u/∂n = u at |x| = 1; u = e^(|x|²/2 + t)."""

import jax.numpy as jnp

import kdpinn_jax as kd

T = 0
BALL = kd.geometry.ball((0,) * 5, 1).over(0, 1)


def exact(z):
    return jnp.exp(jnp.sum(z[1:] ** 2) / 2 + z[T:1])


def residual(u, z, c):
    source = -jnp.sum(z[1:] ** 2) / 5 * exact(z)
    return kd.derivative(u, T)(z) - kd.laplacian(u, (1, 2, 3, 4, 5))(z) / 5 - source


problem = kd.Problem(
    name="heat_nd",
    axes=("t", "x1", "x2", "x3", "x4", "x5"),
    fields=("u",),
    lower=BALL.lower,
    upper=BALL.upper,
    terms={
        "residual": kd.Term(BALL.interior(), residual),
        "initial": kd.Term(BALL.initial(), kd.dirichlet(lambda z, c: exact(z)), count=512),
        "boundary": kd.Term(BALL.boundary(normals=True), kd.neumann(lambda z, c: exact(z)), count=512),
    },
    reference=lambda c: exact,
    inside=BALL,
)
