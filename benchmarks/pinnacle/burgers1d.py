"""uₜ + u uₓ = (0.01/π) uₓₓ on [−1, 1], t ≤ 1, u(0, x) = −sin πx, u = 0 at the ends; compared with Cole and Hopf."""

import jax.numpy as jnp

import kdpinn_jax as kd

T, X = 0, 1
LINE = kd.geometry.interval(-1, 1).over(0, 1)
NU = 0.01 / jnp.pi


def residual(u, z, c):
    value, u_x, u_xx = kd.two_derivatives(u, z, X)
    return kd.derivative(u, T)(z) + value * u_x - NU * u_xx


problem = kd.Problem(
    name="burgers1d",
    axes=("t", "x"),
    fields=("u",),
    lower=LINE.lower,
    upper=LINE.upper,
    terms={
        "residual": kd.Term(LINE.interior(), residual),
        "initial": kd.Term(LINE.initial(), kd.dirichlet(lambda z, c: -jnp.sin(jnp.pi * z[X:])), count=256),
        "boundary": kd.Term(LINE.boundary(), kd.dirichlet(0.0), count=256),
    },
    reference=lambda c: kd.problems.ALL["burgers"].reference({"nu": float(NU)}),  # pyright: ignore
)
