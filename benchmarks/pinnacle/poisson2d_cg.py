"""−Δu + 64u = 10 (17 + x² + y²) sin πx sin 4πy on [−1, 1]² without four discs; u = 0.2 outside, 1 on discs."""

import functools

import jax.numpy as jnp
import numpy as np
from _expansions import Fitted, fit, screened
from _points import reference_points

import kdpinn_jax as kd

DISCS = [(0.5, 0.5, 0.2), (0.4, -0.4, 0.4), (-0.2, -0.7, 0.1), (-0.6, 0.5, 0.3)]
DOMAIN = kd.geometry.rectangle((-1, -1), (1, 1), name="square")
for *centre, radius in DISCS:
    DOMAIN -= kd.geometry.disc(centre, radius)
COMSOL = "poisson_boltzmann2d.dat"


def residual(u, z, c):
    source = 10 * (17 + z @ z) * jnp.sin(jnp.pi * z[0]) * jnp.sin(4 * jnp.pi * z[1])
    return kd.laplacian(u, (0, 1))(z) - 64 * u(z) + source


def particular(z):
    """A solution of the equation that ignores the boundary."""
    x, y = z.T
    sines, kappa = np.sin(np.pi * x) * np.sin(4 * np.pi * y), 17 * np.pi**2 + 64
    a = 10 / kappa
    b, c = 4 * np.pi * a / kappa, 16 * np.pi * a / kappa
    slopes = b * x * np.cos(np.pi * x) * np.sin(4 * np.pi * y) + c * y * np.sin(np.pi * x) * np.cos(4 * np.pi * y)
    return (a * (x**2 + y**2) + (170 + 4 * a - 2 * np.pi * b - 8 * np.pi * c) / kappa) * sines + slopes


@functools.cache
def reference() -> Fitted:
    """A series of Bessel functions that misses the boundary values by 9e-7."""
    basis = screened(8.0, 1.0, DISCS, 30, 60, 30)
    return fit(1.0, DISCS, basis, lambda z: 0.2 - particular(z), lambda z: 1 - particular(z))


def values(z):
    return (reference().values(z) + particular(z))[:, None]


problem = kd.Problem(
    name="poisson2d_cg",
    axes=("x", "y"),
    fields=("u",),
    lower=DOMAIN.lower,
    upper=DOMAIN.upper,
    terms={
        "residual": kd.Term(DOMAIN.interior(), residual),
        "square": kd.Term(DOMAIN.boundary("square"), kd.dirichlet(0.2), count=256),
        "discs": kd.Term(DOMAIN.boundary("disc"), kd.dirichlet(1.0), count=256),
    },
    reference=reference_points(DOMAIN, values),
    inside=DOMAIN,
)
