"""The Black–Scholes equation: the value of a European call option."""

import math

import jax.numpy as jnp
from jax.scipy.special import erf
from jax.scipy.stats import norm

from ..pde.conditions import dirichlet
from ..pde.derivatives import derivative, two_derivatives
from ..pde.problem import Problem, Term
from ..pde.sampling import box

T, S = 0, 1
LOWER, UPPER = (0.0, 0.0), (1.0, 3.0)


def residual(u, z, c):
    """V_t + ½σ²S² V_SS + rS V_S − rV = 0."""
    v_t = derivative(u, T)(z)
    v, v_s, v_ss = two_derivatives(u, z, S)
    return v_t + 0.5 * c["sigma"] ** 2 * z[S] ** 2 * v_ss + c["r"] * z[S] * v_s - c["r"] * v


def payoff(z, c):
    """V(1, S) = max(S − 1, 0)."""
    return jnp.maximum(z[S:] - 1, 0.0)


def upper_value(z, c):
    """V(t, 3) = 3 − e^{−r(1−t)} + P: the value far in the money plus the value of a put, by put–call parity."""
    return upper_end(z[:1], c)


def upper_end(t, c):
    """V(t, 3) at times (n,). P(t) = e^{−rτ} Φ(−d₂) − 3 Φ(−d₁), with Φ from erf, which is cheaper than norm.cdf."""
    tau, sigma, r = 1 - t, c["sigma"], c["r"]
    before_maturity = tau > 0
    width = sigma * jnp.sqrt(jnp.where(before_maturity, tau, 1.0))
    d1 = (math.log(UPPER[S]) + (r + sigma**2 / 2) * tau) / width
    tail = lambda d: 0.5 - 0.5 * erf(d / math.sqrt(2))
    discount = jnp.exp(-r * tau)
    put = discount * tail(d1 - width) - UPPER[S] * tail(d1)
    return UPPER[S] - discount + jnp.where(before_maturity, put, 0.0)


def bachelier(t, s, c):
    """E[max(F + σ√τ ξ, 0)] = F Φ(F/w) + w φ(F/w), F = s − e^{−rτ}, w = σ√τ, τ = 1 − t.

    It equals the pay-off at maturity, is smooth before, and has the kink of the exact value. F includes the interest.
    Source: Bachelier (1900).
    """
    tau = 1 - t
    forward = s - jnp.exp(-c["r"] * tau)
    before_maturity = tau > 0
    width = c["sigma"] * jnp.sqrt(jnp.where(before_maturity, tau, 1.0))
    price = forward * norm.cdf(forward / width) + width * norm.pdf(forward / width)
    return jnp.where(before_maturity, price, jnp.maximum(forward, 0.0))


def ansatz(net, z, c):
    """V = lift + τ S (3 − S) N(t, S).

    The lift is Bachelier's price with a correction that is linear in S, which makes it exact at both ends.
    """
    t, s = z[:1], z[1:]
    low, high = bachelier(t, jnp.zeros_like(s), c), bachelier(t, jnp.full_like(s, UPPER[S]), c)
    share = s / UPPER[S]
    lift = bachelier(t, s, c) - (1 - share) * low - share * (high - upper_end(t, c))
    return lift + (1 - t) * s * (UPPER[S] - s) * net(z)


#: V_t + ½σ²S²V_SS + rSV_S − rV = 0 on t ∈ [0, 1], S ∈ [0, 3], V(1, S) = max(S − 1, 0), V(t, 0) = 0, V(t, 3) = 3 −
#: e^{−r(1−t)} + P(t), with P the put's value there: 3e-10 at σ = 0.2, where it could be left out, and 4e-3 at σ = 0.5.
#: Prices are in units of the strike, times in years. Usual values of σ are 0.1 to 0.5; below σ ≈ 0.1 the kink of the
#: pay-off requires the lift. Source: Black & Scholes (1973), eq. 7.
black_scholes = Problem(
    name="black_scholes",
    axes=("t", "S"),
    fields=("V",),
    lower=LOWER,
    upper=UPPER,
    terms={
        "residual": Term(box(LOWER, UPPER), residual, count=2048),
        "terminal": Term(box((1, 0), (1, 3)), dirichlet(payoff), count=256),
        "lower_boundary": Term(box((0, 0), (1, 0)), dirichlet(0.0), count=128),
        "upper_boundary": Term(box((0, 3), (1, 3)), dirichlet(upper_value), count=128),
    },
    coefficients={"sigma": 0.2, "r": 0.05},
    weights={"terminal": 10.0, "lower_boundary": 10.0, "upper_boundary": 10.0},
    ansatz=ansatz,
    enforced=("terminal", "lower_boundary", "upper_boundary"),
)
