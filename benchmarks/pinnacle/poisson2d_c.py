"""Δu = 0 on [−½, ½]² without four discs; u = 1 on the square and 0 on the discs."""

import functools

import numpy as np
from _expansions import Fitted, fit, harmonic
from _points import reference_points

import kdpinn_jax as kd

DISCS = [(x, y, 0.1) for x in (-0.3, 0.3) for y in (-0.3, 0.3)]
DOMAIN = kd.geometry.rectangle((-0.5, -0.5), (0.5, 0.5), name="square")
for *centre, radius in DISCS:
    DOMAIN -= kd.geometry.disc(centre, radius)
COMSOL = "poisson1_cg_data.dat"


def residual(u, z, c):
    return kd.laplacian(u, (0, 1))(z)


@functools.cache
def reference() -> Fitted:
    """A harmonic series that misses the boundary values by less than 1e-9."""
    return fit(0.5, DISCS, harmonic(0.5, DISCS, 26, 80), lambda z: np.ones(len(z)), lambda z: np.zeros(len(z)))


def values(z):
    return reference().values(z)[:, None]


problem = kd.Problem(
    name="poisson2d_c",
    axes=("x", "y"),
    fields=("u",),
    lower=DOMAIN.lower,
    upper=DOMAIN.upper,
    terms={
        "residual": kd.Term(DOMAIN.interior(), residual),
        "square": kd.Term(DOMAIN.boundary("square"), kd.dirichlet(1.0), count=256),
        "discs": kd.Term(DOMAIN.boundary("disc"), kd.dirichlet(0.0), count=256),
    },
    reference=reference_points(DOMAIN, values),
    inside=DOMAIN,
)
