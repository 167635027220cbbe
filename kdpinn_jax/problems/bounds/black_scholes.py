"""A bound on the error of a model of the Black–Scholes equation, by the maximum principle."""

import numpy as np

from ...evaluation.estimates import ErrorEstimate, NoBound, Norm
from ...evaluation.norms import (
    at_points,
    bound_with_margin,
    check_equation,
    data_at_points,
    field_value,
    scalar_coefficients,
    trapezoid,
    value_and_residual,
)
from ...models.model import Model
from ...pde.problem import Problem
from ..black_scholes import UPPER, S, black_scholes, payoff, upper_value

#: The numbers of times, of evenly spaced S, and of S near the strike. They are odd, so that every other sample includes
#: both ends.
TIMES, EVEN, NEAR = 65, 201, 161
#: How far the points near the strike reach, in σ√τ. A normal variable is farther away with probability 1e-9.
REACH = 6.0


def times_left(count: int) -> np.ndarray:
    """τ = 1 − t = q³ with q evenly spaced on [0, 1].

    The times concentrate just before maturity, where the kink of the pay-off is smoothed over a width of σ√τ.
    """
    return np.linspace(0.0, 1.0, count) ** 3


def points(sigma: float, r: float, even: int = EVEN, near: int = NEAR) -> np.ndarray:
    """(t, S) at the times of ``times_left``, (t, n, 2).

    S is evenly spaced on [0, 3], and e^{−rτ} + ξ σ√τ with ξ evenly spaced on [−6, 6], clipped to the domain.
    """
    tau = times_left(TIMES)[:, None]
    near_strike = np.exp(-r * tau) + sigma * np.sqrt(tau) * np.linspace(-REACH, REACH, near)
    evenly_spaced = np.broadcast_to(np.linspace(0.0, UPPER[S], even), (TIMES, even))
    s = np.concatenate([evenly_spaced, np.clip(near_strike, 0.0, UPPER[S])], axis=1)
    return np.stack([np.broadcast_to(1 - tau, s.shape), s], axis=-1)


def _dense_points(problem: Problem) -> np.ndarray:
    # A norm does not depend on the coefficients; σ = 0.2 is of the order of all usual values.
    return points(0.2, 0.05, 601, 401)


NORM = Norm("maximum over the domain", samples=_dense_points, size=lambda e: float(np.max(e)))


def bound(model: Model) -> ErrorEstimate:
    """A bound on the maximum of |V̂ − V|, where V is the value of the call.

    With τ = 1 − t and R the residual of V̂, e = V̂ − V solves e_τ = ½σ²S² e_SS + rS e_S − r e − R. By the Feynman–Kac
    formula (for the process S from any starting point, stopped when it leaves (0, 3)), or by the maximum principle,

        |e(τ, S)| ≤ max(e^{−rτ} max |e(0, ·)|,  max over s < τ of e^{−r(τ−s)} |e(s, 0 or 3)|)
                    + ∫₀^τ e^{−r(τ−s)} max_S |R(s, S)| ds.

    By put–call parity V(·, 3) = 3 − e^{−rτ} + P, where P is the value of the put there.

    Args:
        model: a model of ``black_scholes``.

    Returns:
        The bound.

    Raises:
        NoBound: another domain, other terms, or sigma ≤ 0.
        ValueError: the model or its residual is not finite.

    Source: Black & Scholes (1973); Friedman (1964), Partial Differential Equations of Parabolic Type, ch. 2.
    """
    check_equation(model.problem, black_scholes)
    c = scalar_coefficients(model)
    sigma, r = c["sigma"], c["r"]
    if not sigma > 0:
        raise NoBound(f"the bound requires sigma > 0, not {sigma}")
    tau = times_left(TIMES)
    z = points(sigma, r)
    # At τ = 0 the residual of the kink is not defined, but it does not contribute, because dτ = 3q² dq.
    values = at_points(model, value_and_residual, z[1:])
    start = (at_points(model, field_value, z[0]) - data_at_points(model, payoff, z[0]))[:, 0]
    source = np.abs(values[..., 1])
    ends = at_points(model, field_value, np.stack([z[:, 0], z[:, EVEN - 1]]))[..., 0]
    low, high = np.abs(ends[0]), np.abs(ends[1] - data_at_points(model, upper_value, z[:, EVEN - 1])[:, 0])
    # Each of the two sets of S is thinned separately, so that both ends of each remain.
    selected = {step: np.r_[0:EVEN:step, EVEN : EVEN + NEAR : step] for step in (1, 2)}

    def bound_from_samples(step: int) -> tuple[float, dict[str, float]]:
        times, columns = tau[::step], selected[step]
        growth = np.exp(r * times)  # e^{−r(τ−s)} = e^{rs} / e^{rτ}
        largest = np.concatenate([[0.0], source[step - 1 :: step][:, columns].max(axis=1)])
        # ∫ f dτ = ∫ 3q² f dq, by the trapezoidal rule in q.
        q = np.cbrt(times)
        residual = trapezoid(3 * q**2 * growth * largest, q) / growth
        terminal = np.abs(start[columns]).max() / growth
        side = np.maximum.accumulate(np.maximum(low, high)[::step] * growth) / growth
        total = np.maximum(terminal, side) + residual
        worst = int(np.argmax(total))
        return float(total[worst]), {
            "residual": float(residual[worst]),
            "terminal misfit": float(np.abs(start[columns]).max()),
            "boundary misfit": float(max(low.max(), high.max())),
            "growth factor": float(max(1.0, np.exp(-r))),
        }

    return bound_with_margin(model, NORM, bound_from_samples, ())
