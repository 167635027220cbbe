"""Viscous Burgers' equation: a sine wave that steepens into a shock."""

import jax.numpy as jnp
import numpy as np

from ..pde.conditions import dirichlet
from ..pde.derivatives import derivative, two_derivatives
from ..pde.problem import Problem, Term
from ..pde.sampling import box, faces

T, X = 0, 1
LOWER, UPPER = (0.0, -1.0), (1.0, 1.0)
#: δ of the even coordinate: four times the usual ν, about the width of the shock. Among 4 ν, 10 ν, and |x| with an odd
#: factor x or tanh(x/δ), this trained fastest. Other values of ν can be trained with it too.
CORE = 0.04 / np.pi


def residual(u, z, c):
    """uₜ + u uₓ = ν uₓₓ."""
    u_t = derivative(u, T)(z)
    value, u_x, u_xx = two_derivatives(u, z, X)
    return u_t + value * u_x - c["nu"] * u_xx


def initial(z, c):
    """u(0, x) = −sin πx."""
    return -jnp.sin(jnp.pi * z[X:])


def even_coordinate(x):
    """ξ(x) = √(x² + δ²): |x| with a rounded kink, which resolves the shock. Its slope x/ξ is odd."""
    return jnp.sqrt(x**2 + CORE**2)


def embed(z):
    """(2t − 1, 2ξ(x) − 1): even in x."""
    return jnp.stack([2 * z[T] - 1, 2 * even_coordinate(z[X]) - 1])


def ansatz(net, z, c):
    """u = −sin πx + t (1 − x²) x/ξ(x) N(t, ξ(x)): the initial value at t = 0, zero at x = ±1, and odd in x like u."""
    x = z[X]
    return initial(z, c) + z[T] * (1 - x**2) * x / even_coordinate(x) * net(z)


#: uₜ + u uₓ = ν uₓₓ on t ∈ [0, 1], x ∈ [−1, 1], u(0, x) = −sin πx, u(t, ±1) = 0. ν = 0.01/π gives a shock of width
#: about 0.01 at x = 0 from t ≈ 1/π; a smaller ν requires more points there. Source: Raissi, Perdikaris & Karniadakis
#: (2019), Appendix A; reference by Cole (1951) and Hopf (1950).
burgers = Problem(
    name="burgers",
    axes=("t", "x"),
    fields=("u",),
    lower=LOWER,
    upper=UPPER,
    terms={
        "residual": Term(box(LOWER, UPPER), residual, count=2048),
        "initial": Term(box((0, -1), (0, 1)), dirichlet(initial), count=256),
        "boundary": Term(faces(LOWER, UPPER, axes=(X,)), dirichlet(0.0), count=256),
    },
    coefficients={"nu": 0.01 / np.pi},
    weights={"initial": 10.0, "boundary": 10.0},
    embed=embed,
    ansatz=ansatz,
    enforced=("initial", "boundary"),
)
