"""Levenberg–Marquardt with geodesic acceleration, dense, on the weighted residual vector."""

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
from ...pde.sampling import Sampling
from ..objective import Objective, residuals, residuals_and_weighted_jacobian, squared, weighted
from ._normal_equations import Gram, factorise, gram, solve
from .stage import QUICK_TO_COMPILE, Ending, Step, check_steps

#: Damping: divided by 3 after a step accepted at once, kept after one that needed several tries, times 4 after a step
#: that would climb, times 10 after a factorisation that failed. Other rules were no better.
DOWN, UP, UP_UNFACTORISED = 1 / 3, 4.0, 10.0
#: λ stays between these; the lower one is the rounding of a float64 or float32 factorisation.
LARGEST = 1e8
SMALLEST = {"float64": 1e-15, "float32": 1e-6}
#: Marquardt's scaling: no parameter's below this share of the largest, none falls faster than this factor a step.
SCALE_FLOOR, SCALE_MEMORY = 1e-8, 0.9
#: Step of the finite difference along the velocity (Transtrum & Sethna 2012, section 4), and the largest |δ₂|/|δ₁| at
#: which δ₂ is taken: twice their bound, and beyond it only δ₂ is dropped, not the step.
DIFFERENCE, ACCELERATION = 0.1, 0.75
#: Tries of a step; after that many λ has grown a millionfold, and the next step begins there.
TRIES = 10


class _Memory(NamedTuple):
    damping: Float[Array, ""]
    scale: Float[Array, " p"]
    start: Float[Array, ""]  # the stage's first loss


class _Try(NamedTuple):
    vector: Float[Array, " p"]
    residuals: dict[str, Array]
    loss: Float[Array, ""]
    damping: Float[Array, ""]  # of the next try
    accepted: Array
    tries: Array


@functools.partial(jax.tree_util.register_dataclass, data_fields=["damping"], meta_fields=["steps", "sampling"])
@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Gauss–Newton steps on the vector r whose squared length is the loss: minimise |r(θ)|² by

        (JᵀJ + λD) δ₁ = −Jᵀr,   (JᵀJ + λD) δ₂ = −½ Jᵀ r″(δ₁, δ₁),   θ ← θ + δ₁ + δ₂,

    D the largest diagonal of JᵀJ seen lately (Marquardt 1963, eq. 13; Moré 1978), δ₂ the geodesic acceleration, taken
    where it is small beside δ₁ (Transtrum, Machta & Sethna 2011, eq. 15). A step that does not lower the loss on the
    points that made it is tried again with a larger λ; no step climbs. The cost of a step is R P² (R residuals, P
    parameters, R < P: R² P) and its memory R P numbers: made for networks of up to some ten thousand parameters.

    float64 is what it needs: in float32 small λ leave JᵀJ + λD indefinite, so λ is kept above 1e-6 and the error stops
    early, where a step's gain is below the rounding of the loss.

    Attributes:
        steps: the most steps; each evaluates the Jacobian once and the residuals about twice.
        damping: λ of the first step, relative to D; dynamic.
        sampling: default every 10 steps; adaptive ones pay for themselves (``kdpinn_jax.recipe``).

    Source: Levenberg (1944), eq. 10; Marquardt (1963).
    """

    steps: int = 300
    damping: ArrayLike = 1e-3
    sampling: Sampling = Sampling(every=10)

    record_every: ClassVar[int] = 2
    # Its time goes to matrix products. XLA's older way with what lies between them compiles faster still.
    compiler_options: ClassVar[Mapping[str, bool | int]] = QUICK_TO_COMPILE | {"xla_cpu_use_fusion_emitters": False}

    def __post_init__(self) -> None:
        check_steps(self)

    def init(self, objective: Objective, params: Params, points: Points) -> _Memory:
        vector = ravel_pytree(params)[0]
        far = jnp.asarray(jnp.inf, vector.dtype)
        return _Memory(jnp.asarray(self.damping, vector.dtype), jnp.zeros_like(vector), far)

    def step(self, objective: Objective, params: Params, memory: _Memory, points: Points) -> Step:
        vector, unravel = ravel_pytree(params)
        here, jacobian = residuals_and_weighted_jacobian(objective, params, points)
        scale, residual = _scaling(jacobian, memory.scale), weighted(objective, points, here)
        system, loss = gram(jacobian, scale), jnp.sum(residual**2)
        at = lambda v: residuals(objective, unravel(v), points)

        def attempt(tried: _Try) -> _Try:
            factor = factorise(system, tried.damping)
            velocity = -solve(system, factor, residual)

            def evaluate(i: Array, way: tuple[Array, dict[str, Array]]) -> tuple[Array, dict[str, Array]]:
                """First a look along the velocity, then the step: one call, so that the residual is compiled once."""
                delta, _ = way
                there = at(vector + delta)
                bent = lambda: _bent(velocity, weighted(objective, points, there) - residual, system, factor)
                return jax.lax.cond(i == 0, bent, lambda: delta), there

            delta, there = jax.lax.fori_loop(0, 2, evaluate, (DIFFERENCE * velocity, here))
            new_loss = jnp.sum(weighted(objective, points, there) ** 2)
            accepted = new_loss < loss  # False for NaN
            failed = ~jnp.isfinite(factor[-1, -1])
            raised = tried.damping * jnp.where(failed, UP_UNFACTORISED, UP)
            lowered = tried.damping * jnp.where(tried.tries == 0, DOWN, 1.0)
            return _Try(
                jnp.where(accepted, vector + delta, vector),
                jax.tree.map(lambda a, b: jnp.where(accepted, a, b), there, here),
                jnp.where(accepted, new_loss, loss),
                jnp.clip(jnp.where(accepted, lowered, raised), SMALLEST[str(vector.dtype)], LARGEST),
                accepted,
                tried.tries + 1,
            )

        tried = jax.lax.while_loop(
            lambda tried: ~tried.accepted & (tried.tries < TRIES),
            attempt,
            _Try(vector, here, loss, memory.damping, jnp.asarray(False), jnp.asarray(0)),
        )
        start = jnp.where(jnp.isfinite(memory.start), memory.start, loss)
        solved = tried.loss <= jnp.finfo(vector.dtype).eps * start
        stalled = ~tried.accepted & (tried.damping >= LARGEST)
        ending = jnp.where(stalled, jnp.where(solved, Ending.CONVERGED, Ending.STALLED), Ending.RUNNING)
        parts, memory = squared(points, tried.residuals), _Memory(tried.damping, scale, start)
        return Step(unravel(tried.vector), memory, parts, tried.loss, ending)

    def renew(self, objective: Objective, params: Params, memory: _Memory, points: Points) -> _Memory:
        # A damping that has run away on the points that are gone says nothing of the new ones.
        return memory._replace(damping=jnp.minimum(memory.damping, jnp.maximum(self.damping, 1.0)))


def _scaling(jacobian: Float[Array, "r p"], before: Float[Array, " p"]) -> Float[Array, " p"]:
    # Row by row: XLA:CPU's reduction goes down each column, and took 190 of the 800 ms of a step of 17,000 parameters.
    add = lambda i, total: total + jacobian[i] ** 2
    diagonal = jax.lax.fori_loop(0, len(jacobian), add, jnp.zeros_like(before))
    floor = jnp.maximum(SCALE_FLOOR * jnp.max(diagonal), jnp.finfo(diagonal.dtype).tiny)
    return jnp.maximum(jnp.maximum(diagonal, floor), SCALE_MEMORY * before)


def _bent(velocity: Array, difference: Array, system: Gram, factor: Array) -> Array:
    """δ₁ + δ₂, or δ₁ where δ₂ is large, from r(θ + hδ₁) − r; r″(δ₁, δ₁) = (2/h) ((r(θ + hδ₁) − r)/h − Jδ₁)."""
    bend = (2 / DIFFERENCE) * (difference / DIFFERENCE - system.jacobian @ velocity)
    acceleration = -0.5 * solve(system, factor, bend)
    small = jnp.linalg.norm(acceleration) < ACCELERATION * jnp.linalg.norm(velocity)
    return velocity + jnp.where(small, acceleration, 0.0)
