"""The decaying Taylor–Green vortex: unsteady incompressible Navier–Stokes flow on a periodic square."""

import jax.numpy as jnp
import numpy as np

from ..pde.conditions import dirichlet, periodic_condition
from ..pde.derivatives import derivative, two_derivatives
from ..pde.embedding import periodic_embedding
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from ..pde.sampling import box

T, X, Y = 0, 1, 2
PERIOD = 2 * np.pi
LOWER, UPPER = (0.0, 0.0, 0.0), (1.0, PERIOD, PERIOD)
#: The pressure, which the equations determine up to a function of time, is zero at x = y = GAUGE.
GAUGE = np.pi / 4


def momentum_and_continuity(u, z, c):
    """uₜ + u uₓ + v u_y + pₓ − ν Δu, vₜ + u vₓ + v v_y + p_y − ν Δv, uₓ + v_y."""
    w_t = derivative(u, T)(z)
    w, w_x, w_xx = two_derivatives(u, z, X)
    _, w_y, w_yy = two_derivatives(u, z, Y)
    transport = w_t + w[0] * w_x + w[1] * w_y - c["nu"] * (w_xx + w_yy)
    return jnp.stack([transport[0] + w_x[2], transport[1] + w_y[2], w_x[0] + w_y[1]])


def start(z, c):
    """u = −cos x sin y, v = sin x cos y at t = 0."""
    return jnp.stack([-jnp.cos(z[X]) * jnp.sin(z[Y]), jnp.sin(z[X]) * jnp.cos(z[Y])])


def ansatz(net, z, c):
    """(u, v) = the initial velocity + t N₁₂, p = N₃; the embedding makes N periodic."""
    n = net(z)
    return jnp.concatenate([start(z, c) + z[T] * n[:2], n[2:]])


#: uₜ + u uₓ + v u_y = −pₓ + ν Δu, v likewise, uₓ + v_y = 0 on t ∈ [0, 1], (x, y) ∈ [0, 2π]² periodic, from
#: u = −cos x sin y, v = sin x cos y; p = 0 at x = y = π/4. ν = 0.01 is Reynolds number 100 on unit length and speed;
#: the flow is laminar at any ν, and decays more slowly for a smaller one. Source: Taylor & Green (1937).
taylor_green = Problem(
    name="taylor_green",
    axes=("t", "x", "y"),
    fields=("u", "v", "p"),
    lower=LOWER,
    upper=UPPER,
    terms={
        "residual": Term(box(LOWER, UPPER), momentum_and_continuity, count=2048),
        "initial": Term(box((0, 0, 0), (0, PERIOD, PERIOD)), dirichlet(start, fields=(0, 1)), count=512),
        "periodic_x": Term(box(LOWER, (1, 0, PERIOD)), periodic_condition(X, PERIOD), count=256),
        "periodic_y": Term(box(LOWER, (1, PERIOD, 0)), periodic_condition(Y, PERIOD), count=256),
        "gauge": Term(box((0, GAUGE, GAUGE), (1, GAUGE, GAUGE)), dirichlet(0.0, fields=(2,)), count=32),
    },
    coefficients={"nu": 0.01},
    weights={"initial": 10.0, "periodic_x": 1.0, "periodic_y": 1.0, "gauge": 1.0},
    embed=periodic_embedding(LOWER, UPPER, axes=(X, Y)),
    ansatz=ansatz,
    enforced=("initial", "periodic_x", "periodic_y"),
    headline=("velocity", ("u", "v")),
    teacher=MLP((64, 64, 64, 64, 64), "silu"),
    student=MLP((32, 32, 32), "silu"),
)
