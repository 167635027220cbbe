"""The Kuramoto–Sivashinsky equation of flame fronts and falling films: one time window of a chaotic flow."""

import math

import jax.numpy as jnp

from ..pde.conditions import dirichlet, periodic_condition
from ..pde.derivatives import derivative, two_derivatives
from ..pde.embedding import periodic_embedding
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from ..pde.sampling import box

T, X = 0, 1
#: The period. The smallest chaotic system in common use has period 22: Cvitanović, Davidchack & Siminos (2010).
LENGTH = 22.0
#: The end of the first window.
UNTIL = 5.0
LOWER, UPPER = (0.0, 0.0), (UNTIL, LENGTH)
#: Cosine and sine coefficients of harmonics 1 … 16 of u(0, x): cos θ − sin(2θ + 0.3) + ½ cos 3θ, θ = 2πx/22, after a
#: transient of 360 time units, rounded. Among the states every 10 units from 200 to 410, errors from this one grow over
#: 150 units at about the rate of the Lyapunov exponent. With fewer harmonics or digits the state would lie off the
#: attractor, and its fast decay (e^{−22t} for harmonic 8) would be a thin layer to resolve.
START = (
    (0.296109, -0.002733), (0.000911, -0.838550), (1.171424, 0.133591), (-0.017940, -0.185233),
    (0.314675, 0.035002), (-0.025750, 0.083039), (0.038207, 0.002329), (-0.005566, 0.021692),
    (-0.000233, -0.001359), (-0.000646, 0.003098), (-0.000779, -0.000392), (0.000008, 0.000207),
    (-0.000148, -0.000057), (0.000016, -0.000009), (-0.000015, -0.000004), (0.000003, -0.000005),
)  # fmt: skip


def initial_value(x):
    """u(0, x): sixteen harmonics of period 22, a state on the attractor."""
    start = jnp.asarray(START, x.dtype)
    angles = (2 * math.pi / LENGTH) * x * jnp.arange(1, len(START) + 1, dtype=x.dtype)
    return jnp.sum(start[:, 0] * jnp.cos(angles) + start[:, 1] * jnp.sin(angles))


def residual(u, z, c):
    """uₜ + u uₓ + uₓₓ + ν uₓₓₓₓ = 0.

    The fourth derivative is ``two_derivatives`` of (u, uₓₓ). The Jacobian at 2048 points for 981 parameters then takes
    50 ms on one core and compiles in 3.4 s; it takes 64 ms and 4.7 s by composing ``derivative``, and 73 ms and 3.1 s
    by ``jax.experimental.jet``. A second field w = uₓₓ lowers the order but doubles the residuals: 100
    Levenberg–Marquardt steps end at 4e-5 after 11 s with it, and at 1e-5 after 6 s without it.
    """

    def value_and_curvature(z):
        value, _, u_xx = two_derivatives(u, z, X)
        return jnp.concatenate([value, u_xx])

    u_t = derivative(u, T)(z)
    (value, u_xx), (u_x, _), (_, u_xxxx) = two_derivatives(value_and_curvature, z, X)
    return u_t + value * u_x + u_xx + c["viscosity"] * u_xxxx


def initial(z, c):
    """u(0, x): sixteen harmonics, a state on the attractor."""
    return initial_value(z[X])[None]


#: uₜ + u uₓ + uₓₓ + ν uₓₓₓₓ = 0 on t ∈ [0, 5], x ∈ [0, 22) periodic, ν = 1, from a state on the attractor: the first of
#: the windows that ``initial_from`` chains, each a quarter of a Lyapunov time (1/0.048 ≈ 21). Errors are carried over
#: and grow by a factor e per Lyapunov time, at times faster. At equal cost a network is ten times worse in a window
#: twice as long, and seven times better in one half as long. The embedding enforces the period. The initial value is a
#: soft term, because the next window has another one; weights 1 and 0.1 give the same error, and 10 a two to three
#: times larger one, because uₓₓₓₓ makes the equation's residual large even for errors that would decay immediately. A
#: smaller ν has shorter waves: the wavelength 2π√(2ν) grows fastest. Sources: Kuramoto & Tsuzuki (1976); Sivashinsky
#: (1977); this period: Cvitanović, Davidchack & Siminos (2010).
kuramoto_sivashinsky = Problem(
    name="kuramoto_sivashinsky",
    axes=("t", "x"),
    fields=("u",),
    lower=LOWER,
    upper=UPPER,
    terms={
        "residual": Term(box(LOWER, UPPER), residual, count=2048),
        "initial": Term(box((0, 0), (0, LENGTH)), dirichlet(initial), count=256),
        "boundary": Term(box(LOWER, (UNTIL, 0)), periodic_condition(X, LENGTH, derivatives=3), count=128),
    },
    coefficients={"viscosity": 1.0},
    weights={"initial": 1.0, "boundary": 1.0},
    embed=periodic_embedding(LOWER, UPPER, axes=(X,), harmonics=2),
    enforced=("boundary",),
    # Two layers are better than three. On one core in float64, with LevenbergMarquardt on 1228 adaptive points, the
    # student reaches 3e-6 … 6e-6 in 9 s and (20, 20, 20) 1.5e-5; this teacher reaches 4e-6 in 21 s and (50, 50, 50)
    # 6e-6 in 51 s.
    teacher=MLP((40, 40)),
    student=MLP((24, 24)),
)
