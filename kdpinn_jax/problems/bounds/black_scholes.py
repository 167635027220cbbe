"""The error of a model of the Black–Scholes equation, by the maximum principle."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from ...base.types import Coefficients, Field
from ...evaluation.estimates import ErrorEstimate, NoBound, Norm
from ...evaluation.norms import (
    at_points,
    bound_with_margin,
    check_equation,
    field_value,
    scalar_coefficients,
    trapezoid,
)
from ...models.model import Model
from ...pde.problem import Problem
from ..black_scholes import UPPER, S, black_scholes, payoff, upper_value

#: Times, even points in S, and points about the strike; odd, so that every other one keeps the ends.
TIMES, EVEN, NEAR = 65, 201, 161
#: How far the points about the strike reach, in σ√τ: a normal variable is beyond with probability 1e-9.
REACH = 6.0


def times_left(count: int) -> np.ndarray:
    """τ = 1 − t = q³ with q evenly spaced on [0, 1]: crowded before maturity, where the kink of the pay-off is smoothed
    over σ√τ."""
    return np.linspace(0.0, 1.0, count) ** 3


def points(problem: Problem, sigma: float, r: float, even: int = EVEN, near: int = NEAR) -> np.ndarray:
    """(t, S) at those times, (t, n, 2): S even on [0, 3], and e^{−rτ} + ξ σ√τ with ξ even on [−6, 6], kept inside."""
    tau = times_left(TIMES)[:, None]
    layer = np.exp(-r * tau) + sigma * np.sqrt(tau) * np.linspace(-REACH, REACH, near)
    wide = np.broadcast_to(np.linspace(0.0, UPPER[S], even), (TIMES, even))
    s = np.concatenate([wide, np.clip(layer, 0.0, UPPER[S])], axis=1)
    return np.stack([np.broadcast_to(1 - tau, s.shape), s], axis=-1)


def _dense(problem: Problem) -> np.ndarray:
    # Of the norm, which knows no coefficients: σ = 0.2 is of the order of all that are usual.
    return points(problem, 0.2, 0.05, 601, 401)


NORM = Norm("maximum over the domain", samples=_dense, size=lambda e: float(np.max(e)))


def _residual(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    return jnp.concatenate([u(z), problem.terms["residual"].residual(u, z, c)])


def _payoff(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    return payoff(z, c)


def _upper_value(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    return upper_value(z, c)


def bound(model: Model) -> ErrorEstimate:
    """A bound on the largest |V̂ − V|, V the value of the call (closed form).

    With τ = 1 − t and R the residual of V̂, e = V̂ − V solves e_τ = ½σ²S² e_SS + rS e_S − r e − R. By Feynman–Kac (the
    process S started anywhere, stopped where it leaves (0, 3)), or by the maximum principle,

        |e(τ, S)| ≤ e^{−rτ} max |e(0, ·)|  or  max over s < τ of e^{−r(τ−s)} |e(s, 0 or 3)|, whichever is larger,
                    + ∫₀^τ e^{−r(τ−s)} max_S |R(s, S)| ds.

    V(·, 3) = 3 − e^{−rτ} + P, P the put's value there, by put–call parity.

    Source: Black & Scholes (1973); Friedman (1964), Partial Differential Equations of Parabolic Type, ch. 2.
    """
    check_equation(model.problem, black_scholes)
    c = scalar_coefficients(model)
    sigma, r = c["sigma"], c["r"]
    if not sigma > 0:
        raise NoBound(f"the bound needs sigma > 0, not {sigma}")
    tau = times_left(TIMES)
    z = points(model.problem, sigma, r)
    # At τ = 0 itself the residual of a kink is not defined; it counts for nothing there, since dτ = 3q² dq.
    values = at_points(model, _residual, z[1:])
    start = (at_points(model, field_value, z[0]) - at_points(model, _payoff, z[0]))[:, 0]
    source = np.abs(values[..., 1])
    ends = at_points(model, field_value, np.stack([z[:, 0], z[:, EVEN - 1]]))[..., 0]
    low, high = np.abs(ends[0]), np.abs(ends[1] - at_points(model, _upper_value, z[:, EVEN - 1])[:, 0])
    # The two sets of S, each thinned by itself: every other point of their union could be one of them alone.
    chosen = {step: np.r_[0:EVEN:step, EVEN : EVEN + NEAR : step] for step in (1, 2)}

    def of_share(step: int) -> tuple[float, dict[str, float]]:
        left, some = tau[::step], chosen[step]
        discount = np.exp(r * left)  # e^{−r(τ−s)} = e^{rs} / e^{rτ}
        largest = np.concatenate([[0.0], source[step - 1 :: step][:, some].max(axis=1)])
        # ∫ f dτ = ∫ 3q² f dq, trapezoidal in q.
        q = np.cbrt(left)
        residual = trapezoid(3 * q**2 * discount * largest, q) / discount
        terminal = np.abs(start[some]).max() / discount
        side = np.maximum.accumulate(np.maximum(low, high)[::step] * discount) / discount
        total = np.maximum(terminal, side) + residual
        worst = int(np.argmax(total))
        return float(total[worst]), {
            "residual": float(residual[worst]),
            "terminal misfit": float(np.abs(start[some]).max()),
            "boundary misfit": float(max(low.max(), high.max())),
            "growth factor": float(max(1.0, np.exp(-r))),
        }

    return bound_with_margin(model, NORM, of_share, ())
