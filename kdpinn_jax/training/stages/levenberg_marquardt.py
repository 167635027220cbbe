"""Levenberg–Marquardt with geodesic acceleration, on the weighted residual vector and its dense Jacobian."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Float

from ...base.types import Params, Points
from ...models.report import Status
from ..objective import Objective
from ..resampling import Sampling
from ..residuals import residuals, residuals_and_weighted_jacobian, squared, weighted_vector
from ._normal_equations import Gram, factorise, gram, solve
from .stage import QUICK_TO_COMPILE, StageStep, check_steps

#: Factors of the damping λ: after a step that is accepted at the first trial, after a trial that would raise the loss,
#: and after a failed factorisation; it is kept after a step that needed several trials. Other rules were no better.
DOWN, UP, UP_UNFACTORISED = 1 / 3, 4.0, 10.0
#: Limits of λ; the lower one is set by the rounding error of a factorisation in float64 or float32.
LARGEST = 1e8
SMALLEST = {"float64": 1e-15, "float32": 1e-6}
#: Marquardt's scaling: no entry is smaller than this fraction of the largest, or decreases faster than this factor per
#: step.
SCALE_FLOOR, SCALE_MEMORY = 1e-8, 0.9
#: Step of the finite difference along the velocity (Transtrum & Sethna 2012, section 4), and the largest |δ₂|/|δ₁| for
#: which δ₂ is used: twice their bound, and beyond it only δ₂ is dropped, not the step.
DIFFERENCE, ACCELERATION = 0.1, 0.75
#: The largest number of trials per step; by then λ has grown a millionfold, and the next step starts from there.
TRIALS = 10


class _State(NamedTuple):
    damping: Float[Array, ""]
    scale: Float[Array, " p"]
    start: Float[Array, ""]  # the first loss of the stage


class _Trial(NamedTuple):
    vector: Float[Array, " p"]
    residuals: dict[str, Array]
    loss: Float[Array, ""]
    damping: Float[Array, ""]  # for the next trial
    accepted: Array
    trials: Array


@functools.partial(jax.tree_util.register_dataclass, data_fields=["damping"], meta_fields=["steps", "sampling"])
@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Gauss–Newton steps on the vector r whose squared length is the loss: minimise |r(θ)|² by

        (JᵀJ + λD) δ₁ = −Jᵀr,   (JᵀJ + λD) δ₂ = −½ Jᵀ r″(δ₁, δ₁),   θ ← θ + δ₁ + δ₂.

    D is a decaying maximum of the diagonal of JᵀJ (Marquardt 1963, eq. 13; Moré 1978). δ₂ is the geodesic acceleration,
    used if it is small compared with δ₁ (Transtrum, Machta & Sethna 2011, eq. 15). A step that does not lower the loss
    on its own points is tried again with a larger λ, so no step raises it. With R residuals and P parameters a step
    costs O(R P²), or O(R² P) if R < P, and needs memory for R P numbers: suitable for up to about ten thousand
    parameters.

    It requires float64 for full accuracy. In float32 a small λ leaves JᵀJ + λD indefinite, so λ stays above 1e-6, and
    training stops early, as soon as a step changes the loss by less than its rounding error.

    Attributes:
        steps: the largest number of steps; each evaluates the Jacobian once and the residuals about twice.
        damping: λ of the first step, relative to D; dynamic.
        sampling: default new points every 10 steps; adaptive points are worth their cost (``kdpinn_jax.recipe``).

    Raises:
        ValueError: fewer than one step.

    Source: Levenberg (1944), eq. 10; Marquardt (1963).
    """

    steps: int = 300
    damping: ArrayLike = 1e-3
    sampling: Sampling = Sampling(every=10)

    record_every: ClassVar[int] = 2
    # Matrix products dominate the run time. XLA's older emitter for the operations between them compiles faster.
    compiler_options: ClassVar[Mapping[str, bool | int]] = QUICK_TO_COMPILE | {"xla_cpu_use_fusion_emitters": False}

    def __post_init__(self) -> None:
        check_steps(self)

    def init(self, objective: Objective, params: Params, points: Points) -> _State:
        vector = ravel_pytree(params)[0]
        unknown = jnp.asarray(jnp.inf, vector.dtype)
        return _State(jnp.asarray(self.damping, vector.dtype), jnp.zeros_like(vector), unknown)

    def step(self, objective: Objective, params: Params, state: _State, points: Points) -> StageStep:
        vector, unravel = ravel_pytree(params)
        current, jacobian = residuals_and_weighted_jacobian(objective, params, points)
        scale, residual = _scaling(jacobian, state.scale), weighted_vector(objective, points, current)
        system, loss = gram(jacobian, scale), jnp.sum(residual**2)

        def attempt(trial: _Trial) -> _Trial:
            factor = factorise(system, trial.damping)
            velocity = -solve(system, factor, residual)

            def evaluate(i: Array, carry: tuple[Array, dict[str, Array]]) -> tuple[Array, dict[str, Array]]:
                """The residuals first along the velocity and then after the step; in a loop, they are compiled once."""
                delta, _ = carry
                new = residuals(objective, unravel(vector + delta), points)

                def accelerated() -> Array:
                    return _accelerated(velocity, weighted_vector(objective, points, new) - residual, system, factor)

                return jax.lax.cond(i == 0, accelerated, lambda: delta), new

            delta, new = jax.lax.fori_loop(0, 2, evaluate, (DIFFERENCE * velocity, current))
            new_loss = jnp.sum(weighted_vector(objective, points, new) ** 2)
            accepted = new_loss < loss  # False for NaN
            failed = ~jnp.isfinite(factor[-1, -1])
            raised = trial.damping * jnp.where(failed, UP_UNFACTORISED, UP)
            lowered = trial.damping * jnp.where(trial.trials == 0, DOWN, 1.0)
            return _Trial(
                jnp.where(accepted, vector + delta, vector),
                jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, current),
                jnp.where(accepted, new_loss, loss),
                jnp.clip(jnp.where(accepted, lowered, raised), SMALLEST[str(vector.dtype)], LARGEST),
                accepted,
                trial.trials + 1,
            )

        trial = jax.lax.while_loop(
            lambda trial: ~trial.accepted & (trial.trials < TRIALS),
            attempt,
            _Trial(vector, current, loss, state.damping, jnp.asarray(False), jnp.asarray(0)),
        )
        start = jnp.where(jnp.isfinite(state.start), state.start, loss)
        solved = trial.loss <= jnp.finfo(vector.dtype).eps * start
        stalled = ~trial.accepted & (trial.damping >= LARGEST)
        status = jnp.where(stalled, jnp.where(solved, Status.CONVERGED, Status.STALLED), Status.RUNNING)
        term_losses, state = squared(points, trial.residuals), _State(trial.damping, scale, start)
        return StageStep(unravel(trial.vector), state, term_losses, trial.loss, status)

    def renew(self, objective: Objective, params: Params, state: _State, points: Points) -> _State:
        # A damping that has become large on the previous points is not meaningful on the new ones.
        return state._replace(damping=jnp.minimum(state.damping, jnp.maximum(self.damping, 1.0)))


def _scaling(jacobian: Float[Array, "r p"], before: Float[Array, " p"]) -> Float[Array, " p"]:
    """D: the diagonal of JᵀJ with a floor, but not less than a fraction of the previous D."""
    # Row by row, because XLA:CPU reduces down each column, which took 190 of the 800 ms of a step of 17,000 parameters.
    add_row = lambda i, total: total + jacobian[i] ** 2
    diagonal = jax.lax.fori_loop(0, len(jacobian), add_row, jnp.zeros_like(before))
    floor = jnp.maximum(SCALE_FLOOR * jnp.max(diagonal), jnp.finfo(diagonal.dtype).tiny)
    return jnp.maximum(jnp.maximum(diagonal, floor), SCALE_MEMORY * before)


def _accelerated(velocity: Array, difference: Array, system: Gram, factor: Array) -> Array:
    """δ₁ + δ₂, or δ₁ if δ₂ is large, from r(θ + hδ₁) − r; r″(δ₁, δ₁) = (2/h) ((r(θ + hδ₁) − r)/h − Jδ₁)."""
    curvature = (2 / DIFFERENCE) * (difference / DIFFERENCE - system.jacobian @ velocity)
    acceleration = -0.5 * solve(system, factor, curvature)
    small = jnp.linalg.norm(acceleration) < ACCELERATION * jnp.linalg.norm(velocity)
    return velocity + jnp.where(small, acceleration, 0.0)
