"""uₜₜ = 4 uₓₓ on [0, 1], t ≤ 1, with fixed ends; u = sin πx cos 2πt + ½ sin 4πx cos 8πt."""

import jax.numpy as jnp

import kdpinn_jax as kd

T, X = 0, 1
STRING = kd.geometry.interval(0, 1).over(0, 1)


def residual(u, z, c):
    return kd.two_derivatives(u, z, T)[2] - 4 * kd.two_derivatives(u, z, X)[2]


def exact(z):
    t, x = z[T:X], z[X:]
    waves = (jnp.sin(k * jnp.pi * x) * jnp.cos(2 * k * jnp.pi * t) for k in (1, 4))
    return next(waves) + 0.5 * next(waves)


problem = kd.Problem(
    name="wave1d",
    axes=("t", "x"),
    fields=("u",),
    lower=STRING.lower,
    upper=STRING.upper,
    terms={
        "residual": kd.Term(STRING.interior(), residual),
        "initial": kd.Term(STRING.initial(), kd.dirichlet(lambda z, c: exact(z)), count=256),
        "initial_velocity": kd.Term(STRING.initial(), kd.neumann(0.0, axis=T), count=256),
        "ends": kd.Term(STRING.boundary(), kd.dirichlet(0.0), count=256),
    },
    reference=lambda c: exact,
)
