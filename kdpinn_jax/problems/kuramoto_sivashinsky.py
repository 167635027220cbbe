"""The Kuramoto–Sivashinsky equation, flame fronts and falling films: chaos in one dimension, one time window of it."""

import jax.numpy as jnp

from ..pde.conditions import dirichlet, periodic_condition
from ..pde.derivatives import derivative, two_derivatives
from ..pde.networks import MLP
from ..pde.problem import Problem, Term, periodic
from ..pde.sampling import box
from .references.kuramoto_sivashinsky import LENGTH, UNTIL
from .references.kuramoto_sivashinsky import initial as initial_value
from .references.kuramoto_sivashinsky import kuramoto_sivashinsky as reference

T, X = 0, 1
LOWER, UPPER = (0.0, 0.0), (UNTIL, LENGTH)


def residual(u, z, c):
    """uₜ + u uₓ + uₓₓ + ν uₓₓₓₓ = 0.

    By ``two_derivatives`` of (u, uₓₓ): the Jacobian at 2048 points for 981 parameters takes 50 ms on one core and 3.4 s
    to compile; 64 ms and 4.7 s by ``derivative`` of ``derivative``; 73 ms and 3.1 s by ``jax.experimental.jet``. A
    second field w = uₓₓ lowers the order but doubles the residuals: 100 steps of Levenberg–Marquardt with it end at
    4e-5 after 11 s, without it at 1e-5 after 6 s.
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
#: the windows that ``continued`` chains, a quarter of a Lyapunov time (1/0.048 ≈ 21) each. Errors are carried on and
#: grow by e in a Lyapunov time, at times faster. At equal cost a network is ten times worse in a window twice as long,
#: and seven times better in half of it. The period holds by the embedding; the initial value is a soft term, because
#: the next window has another: weights 1 and 0.1 end alike, 10 two or three times worse, for uₓₓₓₓ makes the equation's
#: residual large where an error would decay at once. A smaller ν has shorter waves: 2π√(2ν) grows fastest.
#: Sources: Kuramoto & Tsuzuki (1976); Sivashinsky (1977); this period: Cvitanović, Davidchack & Siminos (2010).
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
    embed=periodic(LOWER, UPPER, axes=(X,), harmonics=2),
    enforced=("boundary",),
    reference=reference,
    # Two layers do better than three: on one core, float64, LevenbergMarquardt with 1228 adaptive points, the student
    # reaches 3e-6 … 6e-6 in 9 s and (20, 20, 20) 1.5e-5; this teacher 4e-6 in 21 s and (50, 50, 50) 6e-6 in 51 s.
    teacher=MLP((40, 40)),
    student=MLP((24, 24)),
)
