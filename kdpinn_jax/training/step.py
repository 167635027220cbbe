"""The pure part of a training: its state, one step, and many steps as one compiled loop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.types import Params, Points, is_key
from ..models.model import precision
from ..models.report import Status
from .objective import Objective
from .points import draw_evenly, renew, sample
from .residuals import mean_square_at, weighted_sum
from .stages import Stage

#: The values that the host reads after some steps: ``"step"``, ``"status"``, ``"loss"`` and every term's mean square.
Record = dict[str, Array]


class TrainState(NamedTuple):
    """Everything that the next step of a stage depends on.

    Attributes:
        params: the current parameters.
        last_finite: the last parameters at which the loss was evaluated and finite.
        state: the stage's own state.
        points: the current points.
        term_losses: the mean squares of the last evaluation.
        key: the random key for the next draw of points.
        step: the number of steps taken.
        status: a ``Status``.
    """

    params: Params
    last_finite: Params
    state: Any
    points: Points
    term_losses: dict[str, Array]
    key: Array
    step: Array
    status: Array


def start(objective: Objective, stage: Stage, params: Params, key: Array, diverged: ArrayLike = False) -> TrainState:
    """The state before the first step. A diverged training has no finite parameters and takes no further steps."""
    key, key_points = jax.random.split(key)
    points = draw_evenly(objective, stage.sampling, key_points)
    stage_state = stage.init(objective, params, points)
    unknown = {name: jnp.full((), jnp.nan, precision(params)) for name in objective.terms}
    status = jnp.where(diverged, Status.NON_FINITE, Status.RUNNING)
    state = TrainState(params, params, stage_state, points, unknown, key, jnp.asarray(0), status)
    # Strongly typed like the states of a step or a checkpoint, so that one program serves all of them.
    return jax.tree.map(_strongly_typed, state)


compiled_start = jax.jit(start)


def _strongly_typed(leaf: Array) -> Array:
    return leaf if is_key(leaf) else jax.lax.convert_element_type(leaf, leaf.dtype)


def one_step(objective: Objective, stage: Stage, state: TrainState, count: Array) -> TrainState:
    """One step of a stage.

    ``count`` equals ``state.step``, but is the same number for all members of a batch: a redraw of points then remains
    a branch under vmap, and is not evaluated at every step.
    """
    params, last_finite, stage_state, points, last_losses, key, step, _ = state
    every = stage.sampling.every
    if every:
        key, key_points = jax.random.split(key)

        def redraw() -> tuple[Points, Any]:
            fresh = renew(objective, stage.sampling, params, key_points, points, count)
            return fresh, stage.renew(objective, params, stage_state, fresh)

        due = (count % every == 0) & (count > 0)
        points, stage_state = redraw() if every == 1 else jax.lax.cond(due, redraw, lambda: (points, stage_state))
    new = stage.step(objective, params, stage_state, points)
    loss_finite = jnp.isfinite(new.loss)
    finite = loss_finite & jax.tree.reduce(
        jnp.logical_and, jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), new.params)
    )
    # Adam evaluates the loss before it moves, so a loss that is not finite invalidates the parameters it started from.
    last_finite = jax.tree.map(lambda a, b: jnp.where(loss_finite, a, b), params, last_finite)
    params = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new.params, last_finite)
    losses = jax.tree.map(lambda a, b: jnp.where(loss_finite, a, b).astype(b.dtype), new.term_losses, last_losses)
    status = jnp.where(
        ~finite,
        Status.NON_FINITE,
        jnp.where((new.status == Status.RUNNING) & (step + 1 >= stage.steps), Status.COMPLETED, new.status),
    )
    return TrainState(params, last_finite, new.state, points, losses, key, step + 1, status)


def advance(
    objective: Objective, stage: Stage, state: TrainState, first: ArrayLike, steps: ArrayLike
) -> tuple[TrainState, Record]:
    """Take at most ``steps`` steps, starting with number ``first``, and record the last one. A stage that has ended is
    left unchanged."""

    def body(count: Array, state: TrainState) -> TrainState:
        running = state.status == Status.RUNNING
        return jax.lax.cond(running, lambda s: one_step(objective, stage, s, count), lambda s: s, state)

    state = jax.lax.fori_loop(first, first + steps, body, state)
    loss = weighted_sum(objective, state.term_losses)
    return state, {"step": state.step, "status": state.status, "loss": loss, **state.term_losses}


def fresh_loss(objective: Objective, params: Params, key: Array) -> Float[Array, ""]:
    """The loss at evenly drawn points that training did not see."""
    rows = compiled_sample(objective, jax.random.fold_in(key, 1)).rows
    problem, network, coefficients = objective.problem, objective.network, objective.coefficients
    term_losses = {
        name: mean_square_at(problem, network, term, params, coefficients, rows[name])
        for name, term in objective.terms.items()
    }
    return weighted_sum(objective, term_losses)


compiled_sample = jax.jit(sample)
