"""The self-scaled Broyden method: quasi-Newton steps with a dense inverse Hessian and a strong Wolfe line search."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from ...base.types import Params, Points
from ...models.report import Status
from ..objective import Objective
from ..resampling import Sampling
from ..residuals import loss_and_grad
from .stage import QUICK_TO_COMPILE, StageStep, check_steps

#: c₁ and c₂ of the strong Wolfe conditions f ≤ f₀ + c₁ α f₀′ and |f′| ≤ c₂ |f₀′|: the usual values for quasi-Newton
#: methods (Nocedal & Wright 2006, section 3.1).
SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9
#: The first trial length is min(1, 1.01 α₀), where α₀ is that of a parabola with the decrease of the last step (Nocedal
#: & Wright 2006, eq. 3.60), and at least ``SHORTEST``. H is scaled up in every step, so that length 1 is too long in
#: half of them: this rule needs 1.06 evaluations per step instead of 1.65, and on burgers (three seeds) the error after
#: 1000 steps is 3 to 4 times smaller.
FIRST, SHORTEST = 1.01, 1e-3
#: The largest number of trial lengths, the factor between them until a minimum is bracketed, and the fraction of the
#: bracket that an interpolated length keeps away from its ends.
TRIALS, EXPANSION, MARGIN = 20, 4.0, 0.1


class _State(NamedTuple):
    inverse: Float[Array, "p p"]
    value: Float[Array, ""]
    term_losses: dict[str, Array]  # the mean squares that sum to the value
    gradient: Float[Array, " p"]
    direction: Float[Array, " p"]  # −Hg
    decrease: Float[Array, ""]  # in the last step; infinite after a restart or a redraw of points
    fresh: Array  # whether H is still a multiple of the identity
    failures: Array  # consecutive failed line searches


class _Trial(NamedTuple):
    """A step length along the direction, and the loss there."""

    length: Float[Array, ""]
    value: Float[Array, ""]
    term_losses: dict[str, Array]
    slope: Float[Array, ""]
    gradient: Float[Array, " p"]


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["steps", "sampling"])
@dataclass(frozen=True)
class SSBroyden:
    """Quasi-Newton steps θ ← θ − αHg whose inverse Hessian is a dense matrix of the self-scaled Broyden family,

        H ← (H − Hy yᵀH/(yᵀHy) + φ v vᵀ)/τ + s sᵀ/(yᵀs),   v = √(yᵀHy) (s/(yᵀs) − Hy/(yᵀHy)).

    s is the step, y the difference of the gradients, and τ and φ follow Al-Baali in every step (φ = 1 is BFGS, φ = 0
    DFP; ``_self_scaling``). α satisfies the strong Wolfe conditions. H is kept when the points are redrawn.

    With P parameters H has P² numbers; a step reads it twice, writes it once and evaluates the loss about 1.1 times.
    The method suits networks of some thousand parameters with so many residuals R that the R P² of a
    Levenberg–Marquardt step is too expensive. It requires float64: in float32 the line search soon fails, because a
    step changes the loss by less than its rounding error.

    No step raises the loss on its points. After a failed line search H is reset to a multiple of the identity; a second
    failure in a row ends the stage, which its report shows.

    Attributes:
        steps: the largest number of steps.
        sampling: default new points every 200 steps.

    Raises:
        ValueError: fewer than one step.

    Source: Urbán, Stefanou & Pons (2025, arXiv 2405.04230), eqs. 13–23; Al-Baali (1998).
    """

    steps: int = 2000
    sampling: Sampling = Sampling(every=200)

    record_every: ClassVar[int] = 20
    compiler_options: ClassVar[Mapping[str, bool | int]] = QUICK_TO_COMPILE

    def __post_init__(self) -> None:
        check_steps(self)

    def init(self, objective: Objective, params: Params, points: Points) -> _State:
        (value, term_losses), gradient = loss_and_grad(objective, params, points)
        g = ravel_pytree(gradient)[0]
        scale, unknown = _first_scale(g), jnp.full_like(value, jnp.inf)
        inverse = scale * jnp.eye(len(g), dtype=g.dtype)
        return _State(inverse, value, term_losses, g, -scale * g, unknown, jnp.asarray(True), jnp.asarray(0))

    def step(self, objective: Objective, params: Params, state: _State, points: Points) -> StageStep:
        vector, unravel = ravel_pytree(params)
        direction = state.direction

        def trial_at(length: Array) -> _Trial:
            (value, term_losses), gradient = loss_and_grad(objective, unravel(vector + length * direction), points)
            g = ravel_pytree(gradient)[0]
            return _Trial(length, value, term_losses, jnp.vdot(g, direction), g)

        zero, slope = jnp.zeros_like(state.value), jnp.vdot(state.gradient, direction)
        start = _Trial(zero, state.value, state.term_losses, slope, state.gradient)
        first = jnp.clip(FIRST * 2 * state.decrease / -start.slope, SHORTEST, 1.0)
        end, accepted = _line_search(trial_at, start, first)
        vector = jnp.where(end.length > 0, vector + end.length * direction, vector)
        inverse, direction, updated = _update(state, end, start.slope, accepted)
        decrease = jnp.where(accepted, start.value - end.value, jnp.inf)
        failures = jnp.where(accepted, 0, state.failures + 1)
        fresh = ~accepted | (state.fresh & ~updated)
        state = _State(inverse, end.value, end.term_losses, end.gradient, direction, decrease, fresh, failures)
        status = jnp.where(failures >= 2, Status.LINE_SEARCH_FAILED, Status.RUNNING)
        return StageStep(unravel(vector), state, end.term_losses, end.value, status)

    def renew(self, objective: Objective, params: Params, state: _State, points: Points) -> _State:
        (value, term_losses), gradient = loss_and_grad(objective, params, points)
        g = ravel_pytree(gradient)[0]
        new = state._replace(value=value, term_losses=term_losses, gradient=g, direction=-(state.inverse @ g))
        return new._replace(decrease=jnp.full_like(value, jnp.inf), failures=jnp.zeros_like(state.failures))


def _first_scale(gradient: Float[Array, " p"]) -> Float[Array, ""]:
    """γ of H₀ = γI, with which the first step along the negative gradient is no longer than 1."""
    return 1 / jnp.maximum(1.0, jnp.linalg.norm(gradient))


def _line_search(trial_at: Callable[[Array], _Trial], start: _Trial, first: Array) -> tuple[_Trial, Array]:
    """The trial that satisfies the strong Wolfe conditions, or the lowest one, and whether it satisfies them.

    ``low`` is the lowest trial with sufficient decrease. ``high`` is the other end of the bracket of a minimum, and is
    at infinity until there is one. Source: Nocedal & Wright (2006), algorithms 3.5 and 3.6 in one loop; eq. 3.59.
    """

    def attempt(state: tuple[_Trial, _Trial, Array, Array, Array]) -> tuple[_Trial, _Trial, Array, Array, Array]:
        low, high, length, _, count = state
        trial = trial_at(length)
        armijo = trial.value <= start.value + SUFFICIENT_DECREASE * length * start.slope
        lower = armijo & (trial.value <= low.value) & jnp.isfinite(trial.slope)
        satisfied = lower & (jnp.abs(trial.slope) <= -CURVATURE * start.slope)
        passed = trial.slope * (high.length - low.length) >= 0  # the minimum lies between the trial and ``low``
        high = _select(lower, _select(passed, low, high), trial)
        low = _select(lower, trial, low)
        width = high.length - low.length
        share = jnp.clip(_cubic_minimum(low, high), MARGIN, 1 - MARGIN)
        inside = low.length + jnp.where(jnp.isfinite(share), share, 0.5) * width
        return low, high, jnp.where(jnp.isfinite(width), inside, EXPANSION * length), satisfied, count + 1

    far = start._replace(length=jnp.full_like(start.length, jnp.inf))
    low, _, _, satisfied, _ = jax.lax.while_loop(
        lambda state: ~state[3] & (state[4] < TRIALS) & (start.slope < 0),
        attempt,
        (start, far, first, jnp.asarray(False), jnp.asarray(0)),
    )
    return low, satisfied


def _select(condition: Array, a: _Trial, b: _Trial) -> _Trial:
    """``a`` if the condition holds, ``b`` otherwise."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def _cubic_minimum(low: _Trial, high: _Trial) -> Float[Array, ""]:
    """The minimum of the cubic through values and slopes, from ``low`` (0) to ``high`` (1); NaN if there is none."""
    width = high.length - low.length
    a, b = low.slope * width, high.slope * width
    d = a + b - 3 * (high.value - low.value)
    root = jnp.sqrt(d**2 - a * b)
    return 1 - (b + root - d) / (b - a + 2 * root)


def _update(state: _State, end: _Trial, slope: Array, accepted: Array) -> tuple[Array, Array, Array]:
    """H and −Hg after the step, and whether H was updated.

    H is read twice and written once; the new direction does not need a third read.
    """
    g, s, y = end.gradient, end.length * state.direction, end.gradient - state.gradient
    hg = state.inverse @ g
    hy = hg + state.direction
    ys, yhy = jnp.vdot(y, s), jnp.vdot(y, hy)
    tau, phi = _self_scaling(-(end.length**2) * slope / ys, yhy / ys, state.fresh, len(g))
    v = s / ys - hy / yhy
    # Outer products of a vector with itself keep H symmetric to the last bit.
    squares = (
        (-1.0, hy / jnp.sqrt(tau * yhy)),
        (jnp.sign(phi), jnp.sqrt(jnp.abs(phi) * yhy / tau) * v),
        (1.0, s / jnp.sqrt(ys)),
    )
    inverse, direction = state.inverse / tau, hg / tau
    for sign, w in squares:
        inverse += sign * jnp.outer(w, w)
        direction += sign * jnp.vdot(w, g) * w
    resolved = ys > jnp.finfo(g.dtype).eps * jnp.linalg.norm(y) * jnp.linalg.norm(s)
    scale, updated = _first_scale(g), accepted & resolved & (yhy > 0)

    def choose(new: Array, kept: Array, reset: Array) -> Array:
        return jnp.where(accepted, jnp.where(updated, new, kept), reset)

    eye = jnp.eye(len(g), dtype=g.dtype)
    return choose(inverse, state.inverse, scale * eye), -choose(direction, hg, scale * g), updated


def _self_scaling(b: Array, h: Array, first: Array, size: int) -> tuple[Array, Array]:
    """τ and φ from b = sᵀBs/(yᵀs) and h = yᵀHy/(yᵀs), where B = H⁻¹:

        a = bh − 1,   ρ = min(1, h (1 − √(a/(1+a)))),   θ = max((ρ − 1)/a, min(1/ρ, (1 − b)/b)),   σ = 1 + θa,
        φ = (1 − θ)/σ,   τ = min(1, 1/b) min(σ^(−1/(P−1)), 1/θ), or for θ ≤ 0 min(min(1, 1/b) σ^(−1/(P−1)), σ),

    and τ = h/σ in the first step, which scales H₀. Source: Urbán, Stefanou & Pons (2025), eqs. 13–23 and their code.
    """
    a = jnp.maximum(b * h - 1, jnp.finfo(b.dtype).eps)  # ≥ 0 by Cauchy–Schwarz; 0 if s and Hy are parallel
    # h/(1 + a) = 1/b avoids computing 1 − √… as a small difference.
    rho = jnp.minimum(1.0, 1 / (b * (1 + jnp.sqrt(a / (1 + a)))))
    theta = jnp.maximum((rho - 1) / a, jnp.minimum(1 / rho, (1 - b) / b))
    sigma = jnp.maximum(1 + theta * a, rho)  # at least ρ, except for rounding
    root = sigma ** (-1 / max(size - 1, 1))
    largest = jnp.minimum(1.0, 1 / b)
    tau = jnp.where(theta <= 0, jnp.minimum(largest * root, sigma), largest * jnp.minimum(root, 1 / theta))
    return jnp.where(first, h / sigma, tau), (1 - theta) / sigma
