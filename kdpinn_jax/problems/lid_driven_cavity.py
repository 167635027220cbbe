"""The lid-driven cavity: steady incompressible Navier–Stokes flow in a square whose lid slides."""

import jax.numpy as jnp

from .._conditions import dirichlet
from .._derivatives import two_derivatives
from .._network import MLP
from .._problem import Problem, Term
from .._sampling import box, union
from ..references.lid_driven_cavity import lid_driven_cavity as reference

X, Y = 0, 1
LOWER, UPPER = (0.0, 0.0), (1.0, 1.0)


def momentum_and_continuity(u, z, c):
    """u uₓ + v u_y + pₓ − Δu/Re, u vₓ + v v_y + p_y − Δv/Re, uₓ + v_y."""
    w, w_x, w_xx = two_derivatives(u, z, X)
    _, w_y, w_yy = two_derivatives(u, z, Y)
    transport = w[0] * w_x + w[1] * w_y - (w_xx + w_yy) / c["reynolds"]
    return jnp.stack([transport[0] + w_x[2], transport[1] + w_y[2], w_x[0] + w_y[1]])


def lid(z, c):
    """u = 1, v = 0."""
    return jnp.array([1.0, 0.0], z.dtype)


#: u uₓ + v u_y = −pₓ + Δu/Re, v likewise, uₓ + v_y = 0 on (x, y) ∈ [0, 1]²; u = 1 on the lid y = 1, no slip elsewhere,
#: p = 0 at the centre. Steady and stable up to Re ≈ 8000; Re = 100 is the classical test. The velocity jumps at the two
#: top corners, where the residual of a smooth network cannot vanish. Source: Ghia, Ghia & Shin (1982).
lid_driven_cavity = Problem(
    name="lid_driven_cavity",
    axes=("x", "y"),
    fields=("u", "v", "p"),
    lower=LOWER,
    upper=UPPER,
    terms={
        "residual": Term(box(LOWER, UPPER), momentum_and_continuity, count=2048),
        "lid": Term(box((0, 1), (1, 1)), dirichlet(lid, fields=(0, 1)), count=256),
        "walls": Term(
            union(box((0, 0), (1, 0)), box((0, 0), (0, 1)), box((1, 0), (1, 1))),
            dirichlet(0.0, fields=(0, 1)),
            count=384,
        ),
        "gauge": Term(box((0.5, 0.5), (0.5, 0.5)), dirichlet(0.0, fields=(2,)), count=1),
    },
    coefficients={"reynolds": 100.0},
    weights={"lid": 10.0, "walls": 10.0},
    reference=reference,
    headline=("velocity", ("u", "v")),
    teacher=MLP((64, 64, 64, 64, 64), "silu"),
    student=MLP((32, 32, 32), "silu"),
)
