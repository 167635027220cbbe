"""The lid-driven cavity: steady incompressible Navier–Stokes flow in a square whose lid slides."""

import jax.numpy as jnp

from ..pde.conditions import dirichlet
from ..pde.derivatives import two_derivatives_along
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from ..pde.sampling import box, union
from . import _corner_flow

X, Y = 0, 1
LOWER, UPPER = (0.0, 0.0), (1.0, 1.0)
#: The distance from a corner below which the momentum equation loses weight: there the next term of the corner flow, of
#: order (Re r)², matters.
CORNER = 0.05
#: Radius of the built-in corner flows, which fade out from a third of it.
WINDOW = 0.4


def momentum_and_continuity(u, z, c):
    """u uₓ + v u_y + pₓ − Δu/Re, u vₓ + v v_y + p_y − Δv/Re, uₓ + v_y, each times d²/(d² + 0.05²).

    d is the distance to the nearer top corner, where the velocity jumps and no smooth network has a small residual.
    """
    w, (w_x, w_y), (w_xx, w_yy) = two_derivatives_along(u, z, (X, Y))
    # Slicing first lets XLA drop the second derivatives of p, so that it compiles a quarter less.
    transport = w[0] * w_x[:2] + w[1] * w_y[:2] - (w_xx[:2] + w_yy[:2]) / c["reynolds"]
    r = jnp.stack([transport[0] + w_x[2], transport[1] + w_y[2], w_x[0] + w_y[1]])
    square = jnp.minimum(z[X] ** 2, (1 - z[X]) ** 2) + (1 - z[Y]) ** 2
    return r * square / (square + CORNER**2)


def lid(z, c):
    """u = 1, v = 0."""
    return jnp.array([1.0, 0.0], z.dtype)


def step_down(s):
    """A three times differentiable step from 1 at s = 0 to 0 for s ≥ 1, and its derivative."""
    s = jnp.minimum(s, 1.0)
    return 1 - s**4 * (35 - 84 * s + 70 * s**2 - 20 * s**3), -140 * s**3 * (1 - s) ** 3


def corner_velocity_and_pressure(z, reynolds):
    """u, v and p: the values of the lid and the walls, and the singular flow within WINDOW of each top corner.

    u = ψ_y and v = −ψₓ of ψ = Σ χ(r²) ψ_corner − (1 − Σ χ(X²)) y² (1 − y): the corner flows (``_corner_flow``) times
    windows χ, and a cubic that moves the lid between them. p + ½|u|² is that of the corner flows times the windows.
    """
    x, y = jnp.stack([z[X], 1 - z[X]]), jnp.stack([1 - z[Y], 1 - z[Y]])  # from the left and from the right corner
    orientation = jnp.asarray([1.0, -1.0], z.dtype)  # the lid leaves the left wall and meets the right wall
    x = jnp.where(x**2 + y**2 == 0, WINDOW, x)  # a corner belongs to the lid; its infinite pressure is left out
    psi, psi_x, psi_y, pressure = _corner_flow.flow(x, y, reynolds * orientation, jnp)
    window, slope = step_down((x**2 + y**2) / WINDOW**2)
    on_lid, lid_slope = step_down(x**2 / WINDOW**2)
    along, slope_x = 1 - jnp.sum(on_lid), -jnp.sum(orientation * lid_slope * 2 * x) / WINDOW**2
    u = -jnp.sum(window * psi_y + slope * 2 * y / WINDOW**2 * psi) - along * (2 * z[Y] - 3 * z[Y] ** 2)
    v = slope_x * z[Y] ** 2 * (1 - z[Y]) - jnp.sum(orientation * (window * psi_x + slope * 2 * x / WINDOW**2 * psi))
    return u, v, jnp.sum(window * pressure)


def ansatz(net, z, c):
    """(u, v) = wall values and corner flow + 16 x (1 − x) y (1 − y) N₁₂, p = corner pressure + N₃ − ½|u|²."""
    n = net(z)
    u, v, p = corner_velocity_and_pressure(z, c["reynolds"])
    inside = 16 * z[X] * (1 - z[X]) * z[Y] * (1 - z[Y])
    u, v = u + inside * n[0], v + inside * n[1]
    return jnp.stack([u, v, p + n[2] - (u**2 + v**2) / 2])


#: u uₓ + v u_y = −pₓ + Δu/Re, v likewise, uₓ + v_y = 0 on (x, y) ∈ [0, 1]²; u = 1 on the lid y = 1, no slip elsewhere,
#: p = 0 at the centre. The flow is steady and stable up to Re ≈ 8000; Re = 100 is the classical test. The velocity
#: jumps at the two top corners; hard conditions build that jump in. Source: Ghia, Ghia & Shin (1982).
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
    weights={"lid": 10.0, "walls": 10.0, "gauge": 1.0},
    ansatz=ansatz,
    enforced=("lid", "walls"),
    headline=("velocity", ("u", "v")),
    teacher=MLP((64, 64, 64, 64, 64), "silu"),
    student=MLP((32, 32, 32), "silu"),
)
