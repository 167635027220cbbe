"""−Δu = (π²/4) Σ sin(πxᵢ/2) on the unit cube in five dimensions; u = Σ sin(πxᵢ/2)."""

import jax.numpy as jnp

import kdpinn_jax as kd

CUBE = kd.geometry.box((0,) * 5, (1,) * 5)


def exact(z):
    return jnp.sum(jnp.sin(jnp.pi * z / 2), keepdims=True)


def residual(u, z, c):
    return kd.laplacian(u, (0, 1, 2, 3, 4))(z) + jnp.pi**2 / 4 * exact(z)


problem = kd.Problem(
    name="poisson_nd",
    axes=("x1", "x2", "x3", "x4", "x5"),
    fields=("u",),
    lower=CUBE.lower,
    upper=CUBE.upper,
    terms={
        "residual": kd.Term(CUBE.interior(), residual),
        "boundary": kd.Term(CUBE.boundary(), kd.dirichlet(lambda z, c: exact(z)), count=512),
    },
    reference=lambda c: exact,
)
