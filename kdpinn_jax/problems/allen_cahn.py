"""The Allen–Cahn equation: phases that separate into plateaus with thin walls."""

import jax
import jax.numpy as jnp

from ..pde.conditions import dirichlet, periodic_condition
from ..pde.derivatives import derivative, two_derivatives
from ..pde.problem import Problem, Term
from ..pde.sampling import box

T, X = 0, 1
LOWER, UPPER = (0.0, -1.0), (1.0, 1.0)


def residual(u, z, c):
    """uₜ − D uₓₓ − r (u − u³) = 0."""
    u_t = derivative(u, T)(z)
    value, _, u_xx = two_derivatives(u, z, X)
    return u_t - c["diffusivity"] * u_xx - c["reaction"] * (value - value**3)


def initial_value(x):
    """u(0, x) = x² cos πx with period 2."""
    x = x - 2 * jnp.round(x / 2)
    return x**2 * jnp.cos(jnp.pi * x)


def rounding(t, x, diffusivity):
    """The change that diffusion alone makes to the kink 2ξ of the initial value:

        2 (ξ erf(ξ/w) + w/√π e^{−ξ²/w²} − ξ),

    with ξ the distance to x = ±1 and w = √(4Dt). It is the mean of 2|ξ + √(2Dt) Z| − 2ξ over a standard normal Z, and
    zero at t = 0.
    """
    xi = 1 - jnp.abs(x - 2 * jnp.round(x / 2))
    later = t > 0
    width = jnp.sqrt(4 * diffusivity * jnp.where(later, t, 1.0))  # avoids √0, whose derivative is infinite
    mean = xi * jax.scipy.special.erf(xi / width) + width / jnp.sqrt(jnp.pi) * jnp.exp(-((xi / width) ** 2))
    return jnp.where(later, 2 * (mean - xi), 0.0)


def initial(z, c):
    """u(0, x) = x² cos πx, with period 2 beyond the domain."""
    return initial_value(z[X:])


def embed(z):
    """(2t − 1, cos πx): even and of period 2 in x, like the solution."""
    return jnp.stack([2 * z[T] - 1, jnp.cos(jnp.pi * z[X])])


def ansatz(net, z, c):
    """u = x² cos πx + the rounding of its kink + t N(t, cos πx)."""
    return initial(z, c) + rounding(z[T], z[X:], c["diffusivity"]) + z[T] * net(z)


#: uₜ = D uₓₓ + r (u − u³) on t ∈ [0, 1], x ∈ [−1, 1] periodic, u(0, x) = x² cos πx, D = 1e-4, r = 5. Walls are √(2D/r)
#: wide (0.006); a smaller D requires more points there. The initial value has a kink at x = ±1, which a hard condition
#: without the rounding would preserve for all t. Source: Raissi, Perdikaris & Karniadakis (2019), section 4.1.2; Allen
#: & Cahn (1979).
allen_cahn = Problem(
    name="allen_cahn",
    axes=("t", "x"),
    fields=("u",),
    lower=LOWER,
    upper=UPPER,
    terms={
        "residual": Term(box(LOWER, UPPER), residual, count=2048),
        "initial": Term(box((0, -1), (0, 1)), dirichlet(initial), count=512),
        "boundary": Term(box((0, -1), (1, -1)), periodic_condition(X, 2.0), count=128),
    },
    coefficients={"diffusivity": 1e-4, "reaction": 5.0},
    weights={"initial": 100.0, "boundary": 10.0},
    embed=embed,
    ansatz=ansatz,
    enforced=("initial", "boundary"),
)
