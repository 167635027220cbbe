"""The FitzHugh–Nagumo equations: a nerve pulse, stiff, that runs round a ring."""

import jax.numpy as jnp

from ..pde.conditions import dirichlet, periodic_condition
from ..pde.derivatives import derivative, two_derivatives
from ..pde.problem import Problem, Term, periodic
from ..pde.sampling import box
from .references.fitzhugh_nagumo import DURATION
from .references.fitzhugh_nagumo import fitzhugh_nagumo as reference
from .references.fitzhugh_nagumo import initial as initial_value

T, X = 0, 1
LOWER, UPPER = (0.0, 0.0), (DURATION, 1.0)
#: The mean speed of the pulse over √(D/ε), from the reference. A front into the medium at rest has 0.98 as ε → 0,
#: (u₁ + u₃ − 2u₂)/√6 with the roots u₁ < u₂ < u₃ of u − u³/3 = w (McKean 1970); ε and the earlier wake slow it down.
#: 0.61 trains as well, 0.73 not always and 0.37 not: the network is to find only what is left of the motion.
SPEED = 0.67


def residual(u, z, c):
    """e^{−2t/1.4} times ε (uₜ − D uₓₓ) − (u − u³/3 − w) = 0, wₜ − (u + β − γ w) = 0.

    The first row is multiplied by ε, so that both are of the size of u and w: as it stands it would outweigh the second
    by 1/ε², and a wrong recovery would cost nothing. Both fade in time, the loss by e⁻⁴ in all: what goes wrong early
    goes wrong for good (Wang, Sankaran & Perdikaris 2022), and must cost more than being late.
    """
    u_t = derivative(u, T)(z)
    value, _, u_xx = two_derivatives(u, z, X)
    fast = c["epsilon"] * (u_t[0] - c["diffusivity"] * u_xx[0]) - (value[0] - value[0] ** 3 / 3 - value[1])
    slow = u_t[1] - (value[0] + c["beta"] - c["gamma"] * value[1])
    return jnp.exp(-2 * z[T] / DURATION) * jnp.stack([fast, slow])


def initial(z, c):
    """u and w at t = 0: rest, an excited stretch and, behind it, a refractory one (references.fitzhugh_nagumo)."""
    return initial_value(z[X])


def ansatz(net, z, c):
    """(u, w) = (u₀, w₀)(x − st) + (1 − e^{−t/ε}, t) N(t, x − st): the initial state carried along at the speed s of
    the pulse, and what the network adds, seen from the moving pulse.

    Without the motion training fails: least squares lets the pulse die in a thin layer after t = 0, or stay excited
    where it should recover, and neither costs much. Moving, it begins near the pulse and stays there.
    """
    t = z[T]
    moving = jnp.stack([t, z[X] - SPEED * jnp.sqrt(c["diffusivity"] / c["epsilon"]) * t])
    rise = jnp.stack([1 - jnp.exp(-t / c["epsilon"]), t])
    return initial_value(moving[X]) + rise * net(moving)


#: uₜ = D uₓₓ + (u − u³/3 − w)/ε, wₜ = u + β − γ w on t ∈ [0, 1.4], x ∈ [0, 1] periodic. Two time scales: u switches
#: within a few ε = 0.03, w recovers in about 1; so front and back are steep, a few √(Dε) = 0.024, and the pulse long.
#: D sets its speed too, about √(D/ε): for D ≥ 0.04 it meets its own wake and dies. A smaller ε makes it steeper and
#: faster and needs more points; with ε ≥ 0.15, or β ≥ 1.1, it fades before it is round. β and γ (FitzHugh's) place the
#: rest state; the pulse lives from β = 0.3 to 0.9 and γ = 0.5 to 1.3. The initial state does not follow any of them.
#: Source: FitzHugh (1961), his x being −u and his c² 1/ε; Nagumo, Arimoto & Yoshizawa (1962) for the diffusion.
fitzhugh_nagumo = Problem(
    name="fitzhugh_nagumo",
    axes=("t", "x"),
    fields=("u", "w"),
    lower=LOWER,
    upper=UPPER,
    terms={
        "residual": Term(box(LOWER, UPPER), residual, count=2048),
        "initial": Term(box((0, 0), (0, 1)), dirichlet(initial), count=256),
        "periodic": Term(box(LOWER, (DURATION, 0)), periodic_condition(X, 1.0), count=128),
    },
    coefficients={"diffusivity": 0.02, "epsilon": 0.03, "beta": 0.7, "gamma": 0.8},
    weights={"initial": 10.0, "periodic": 1.0},
    embed=periodic(LOWER, UPPER, axes=(X,)),
    ansatz=ansatz,
    enforced=("initial", "periodic"),
    reference=reference,
    headline=("pulse", ("u", "w")),
)
