"""The FitzHugh–Nagumo equations: a stiff problem, a nerve pulse that travels around a ring."""

import jax.numpy as jnp

from ..pde.conditions import dirichlet, periodic_condition
from ..pde.derivatives import derivative, two_derivatives
from ..pde.embedding import periodic_embedding
from ..pde.problem import Problem, Term
from ..pde.sampling import box

T, X = 0, 1
#: The last time; the ring has length 1.
DURATION = 1.4
LOWER, UPPER = (0.0, 0.0), (DURATION, 1.0)
#: The rest state (u, w) at β = 0.7, γ = 0.8 to three digits; FitzHugh's u (1961) has the opposite sign.
REST = (-1.2, -0.625)
#: The mean speed of the pulse divided by √(D/ε), from the reference. A front into the medium at rest has 0.98 as ε → 0,
#: (u₁ + u₃ − 2u₂)/√6 with the roots u₁ < u₂ < u₃ of u − u³/3 = w (McKean 1970); ε and the wake slow it down. Training
#: also works with 0.61, not always with 0.73 and not with 0.37: the network can only correct a nearly right motion.
SPEED = 0.67


def bump(distance, width):
    """e^{(cos 2πd − 1)/width}: entire, of period 1, and near d = 0 a Gaussian of standard deviation √width/2π."""
    return jnp.exp((jnp.cos(2 * jnp.pi * distance) - 1) / width)


def initial_value(x):
    """(u, w) at t = 0: at rest except for an excited region around x = 0.25 and a refractory one around x = 0.05.

    u = −1.2 + 3.2 e^{(cos 2π(x − 0.25) − 1)/0.4}, w = −0.625 + 1.3 e^{(cos 2π(x − 0.05) − 1)/0.4}.

    3.2 raises u to 2, the upper root of u − u³/3 = w at rest. 1.3 raises w behind it above 2/3, where that root
    vanishes, so that u must fall there and the pulse travels in one direction.
    """
    return jnp.stack([REST[0] + 3.2 * bump(x - 0.25, 0.4), REST[1] + 1.3 * bump(x - 0.05, 0.4)])


def residual(u, z, c):
    """e^{−2t/1.4} times ε (uₜ − D uₓₓ) − (u − u³/3 − w) = 0, wₜ − (u + β − γ w) = 0.

    The first row is multiplied by ε, so that both are of the size of u and w. Otherwise it would outweigh the second by
    1/ε² in the loss, and a wrong recovery would cost almost nothing. Both rows decrease in time, the loss by e⁻⁴ in
    total, because an early error persists (Wang, Sankaran & Perdikaris 2022) and must cost more than a late one.
    """
    u_t = derivative(u, T)(z)
    value, _, u_xx = two_derivatives(u, z, X)
    fast = c["epsilon"] * (u_t[0] - c["diffusivity"] * u_xx[0]) - (value[0] - value[0] ** 3 / 3 - value[1])
    slow = u_t[1] - (value[0] + c["beta"] - c["gamma"] * value[1])
    return jnp.exp(-2 * z[T] / DURATION) * jnp.stack([fast, slow])


def initial(z, c):
    """(u, w) at t = 0."""
    return initial_value(z[X])


def ansatz(net, z, c):
    """(u, w) = (u₀, w₀)(x − st) + (1 − e^{−t/ε}, t) N(t, x − st).

    The initial state is transported at the speed s of the pulse, and the network is a function of the co-moving
    coordinate. Without the transport, training fails: in the least-squares sense it costs little if the pulse dies in a
    thin layer after t = 0, or remains excited where it should recover. With the transport, training starts near the
    pulse.
    """
    t = z[T]
    moving = jnp.stack([t, z[X] - SPEED * jnp.sqrt(c["diffusivity"] / c["epsilon"]) * t])
    rise = jnp.stack([1 - jnp.exp(-t / c["epsilon"]), t])
    return initial_value(moving[X]) + rise * net(moving)


#: uₜ = D uₓₓ + (u − u³/3 − w)/ε, wₜ = u + β − γ w on t ∈ [0, 1.4], x ∈ [0, 1] periodic. Two time scales: u switches
#: within a few ε = 0.03, and w recovers in about 1. The front and the back are therefore steep, a few √(Dε) = 0.024,
#: and the pulse is long. Its speed is about √(D/ε): for D ≥ 0.04 it meets its own wake and dies. A smaller ε makes it
#: steeper and faster and requires more points; with ε ≥ 0.15, or β ≥ 1.1, it fades before it completes a turn. β and γ
#: (FitzHugh's) determine the rest state; the pulse exists from β = 0.3 to 0.9 and γ = 0.5 to 1.3. The initial state
#: does not depend on any of them. Source: FitzHugh (1961), his x being −u and his c² 1/ε; Nagumo, Arimoto & Yoshizawa
#: (1962) for the diffusion.
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
    embed=periodic_embedding(LOWER, UPPER, axes=(X,)),
    ansatz=ansatz,
    enforced=("initial", "periodic"),
    headline=("pulse", ("u", "w")),
)
