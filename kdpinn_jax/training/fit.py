"""``fit``: stages on one objective. Steps are jitted scans; between them the host watches (``_loop``)."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike

from ..base.compiler import known_options
from ..base.types import Params, Points, is_key, is_traced
from ..models.report import Fit, StageReport
from .checkpoint import Checkpoint, digest, identity, opened
from .devices import agreed, on_host, placed
from .host_loop import Phase, State, Watch, run_phases
from .objective import Objective, mean_square_at, precision, weighted_sum
from .points import draw_evenly, renew, sample
from .residuals import split_over
from .stages import Ending, Stage


def begin(objective: Objective, stage: Stage, params: Params, key: Array, broken: ArrayLike = False) -> State:
    """The state before the first step; who is broken has no finite parameters to go on from, and stands still."""
    key, key_points = jax.random.split(key)
    points = draw_evenly(objective, stage.sampling, key_points)
    memory = stage.init(objective, params, points)
    unseen = {name: jnp.full((), jnp.nan, precision(params)) for name in objective.terms}
    ending = jnp.where(broken, Ending.NON_FINITE, Ending.RUNNING)
    state = State(params, params, memory, points, unseen, key, jnp.asarray(0), ending)
    # Strongly typed, as what comes back from a step and from a checkpoint: one program serves all.
    return jax.tree.map(_strong, state)


def _strong(leaf: Array) -> Array:
    return leaf if is_key(leaf) else jax.lax.convert_element_type(leaf, leaf.dtype)


def _step(objective: Objective, stage: Stage, state: State, count: Array) -> State:
    """One step; ``count`` is ``state.step``, as a number that is the same for all members of a batch: under vmap a
    draw of points then remains a branch, and is not made at every step."""
    params, proven, memory, points, before, key, step, _ = state
    every = stage.sampling.every
    if every:
        key, key_points = jax.random.split(key)

        def redraw() -> tuple[Points, Any]:
            fresh = renew(objective, stage.sampling, params, key_points, points, count)
            return fresh, stage.renew(objective, params, memory, fresh)

        due = (count % every == 0) & (count > 0)
        points, memory = redraw() if every == 1 else jax.lax.cond(due, redraw, lambda: (points, memory))
    new = stage.step(objective, params, memory, points)
    seen = jnp.isfinite(new.loss)
    finite = seen & jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), new.params))
    # Adam sees the loss before it moves, so a loss that is not finite condemns the parameters it started from.
    proven = jax.tree.map(lambda a, b: jnp.where(seen, a, b), params, proven)
    kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new.params, proven)
    parts = jax.tree.map(lambda a, b: jnp.where(seen, a, b).astype(b.dtype), new.parts, before)
    ending = jnp.where(
        ~finite,
        Ending.NON_FINITE,
        jnp.where((new.ending == Ending.RUNNING) & (step + 1 >= stage.steps), Ending.COMPLETED, new.ending),
    )
    return State(kept, proven, new.memory, points, parts, key, step + 1, ending)


def advance(
    objective: Objective, stage: Stage, state: State, first: ArrayLike, steps: ArrayLike
) -> tuple[State, dict[str, Array]]:
    """At most ``steps`` steps from number ``first`` on, and the mean square of every term as the last of them saw it; a
    stage that has ended stands still."""

    def one(count: Array, state: State) -> State:
        running = state.ending == Ending.RUNNING
        return jax.lax.cond(running, lambda s: _step(objective, stage, s, count), lambda s: s, state)

    state = jax.lax.fori_loop(first, first + steps, one, state)
    loss = weighted_sum(objective, state.parts)
    return state, {"step": state.step, "ending": state.ending, "loss": loss, **state.parts}


def fresh_loss(objective: Objective, params: Params, key: Array) -> Array:
    """The loss at points training did not see."""
    rows = _sample(objective, jax.random.fold_in(key, 1)).rows
    problem, network, coefficients = objective.problem, objective.network, objective.coefficients
    parts = {
        name: mean_square_at(problem, network, term, params, coefficients, rows[name])
        for name, term in objective.terms.items()
    }
    return weighted_sum(objective, parts)


_sample = jax.jit(sample)


class Alone(NamedTuple):
    """One training, compiled piece by piece: the same pieces for any objective of its form."""

    objective: Objective

    def begin(self, stage: Stage, params: Params, key: Array, number: int, broken: Any) -> State:
        return _begin(self.objective, stage, self.placed(params), self.placed(jax.random.fold_in(key, number)), broken)

    def advance(self, stage: Stage, state: State, first: int, steps: int) -> tuple[State, dict[str, Array]]:
        return _compiled_advance(tuple(stage.compiler_options.items()))(self.objective, stage, state, first, steps)

    def fresh_loss(self, params: Params, key: Array) -> Array:
        return fresh_loss(self.objective, self.placed(params), self.placed(key))

    def placed(self, tree: Any) -> Any:
        return placed(tree, self.objective.mesh, PartitionSpec())

    def on_host(self, tree: Any) -> Any:
        return on_host(tree, self.objective.mesh)

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        return agreed(flags, self.objective.mesh)


def alone(objective: Objective) -> Alone:
    """The compiled functions of one training, its points split over the devices of its mesh."""
    return Alone(placed(objective, objective.mesh, PartitionSpec()))


_begin = jax.jit(begin)


@functools.cache
def _compiled_advance(options: tuple[tuple[str, bool | int], ...]) -> Callable[..., tuple[State, dict[str, Array]]]:
    # Only a call that is not itself being traced may choose its compiler's options.
    return jax.jit(advance, compiler_options=known_options(**dict(options)))


def check(stages: Sequence[Stage], time_budget: float | None) -> None:
    """The arguments every training has.

    Raises:
        ValueError: no stages, or a budget that is not positive.
    """
    if not stages:
        raise ValueError("fit: stages is empty; give at least one, e.g. (Adam(2000),)")
    if time_budget is not None and not time_budget > 0:
        raise ValueError(f"fit: time_budget={time_budget} must be positive, in seconds")


def fit(
    objective: Objective,
    params: Params,
    key: Array,
    stages: Sequence[Stage],
    *,
    time_budget: float | None = None,
    progress: bool | None = None,
    monitor: Callable[[Params], Array] | None = None,
    record_every: int | None = None,
    checkpoint: Checkpoint | None = None,
    devices: Sequence[Any] | None = None,
) -> Fit:
    """Minimise the objective by one stage after the other.

    Args:
        objective, params: what is minimised, and where from.
        key: a JAX random key for the points.
        stages: e.g. ``(Adam(2000), LBFGS(2000))``.
        time_budget: wall seconds for all stages, compiling included, looked at with every record; a stage gets an
            equal share of what is left, and what it does not need goes to the next.
        progress: a bar on stderr; None shows it on a terminal only.
        monitor: params -> an error worth watching (relative L2), kept in the history and shown in the bar.
        record_every: steps between records of the history; default the stage's own.
        checkpoint: where to keep what a killed process needs to go on, and to go on from.
        devices: share the points, such as ``jax.devices()``, those of all processes after
            ``jax.distributed.initialize()``; default a single one. The numbers are those of one device, to rounding.

    Returns:
        ``Fit(params, stages)``. A stage that turns non-finite keeps its last finite parameters, and no later stage
        begins; so it is when the budget is spent.

    Raises:
        TrainingInterrupted: Ctrl-C; it holds the Fit so far.
        ValueError: no stages, or a budget or record interval that is not positive.
        CheckpointError: a checkpoint of another training, or damaged. RuntimeError: one in use by another process.

    Under jit or vmap (keys, coefficients, weights, learning rates) the same numbers come out; the clock, the bar, the
    monitor and the checkpoint are silent there, every stage begins, and a member that has ended stands still.
    """
    check(stages, time_budget)
    if record_every is not None and record_every < 1:
        raise ValueError(f"fit: record_every={record_every} must be at least 1")
    if is_traced(objective, params, key, tuple(stages)):
        return _fit_traced(objective, params, key, stages, record_every)
    objective = replace(objective, mesh=split_over(devices))

    def identified() -> dict[str, Any]:  # a digest takes all numbers to the host: only a checkpoint is worth it
        about = {"initial parameters": digest(params), "record_every": record_every}
        return identity([(objective, tuple(stages), None)], key) | about

    with opened(checkpoint, identified) as journal:
        watch = Watch(journal, progress, time_budget, monitor, record_every)
        return run_phases(params, [Phase(alone(objective), stages, key, time_budget or np.inf)], watch)


def _fit_traced(
    objective: Objective, params: Params, key: Array, stages: Sequence[Stage], record_every: int | None
) -> Fit:
    reports = []
    for i, stage in enumerate(stages):
        every = min(record_every or stage.record_every, stage.steps)
        # A member whose last stage turned non-finite stands still, as it does outside vmap.
        broken = reports[-1].ending == Ending.NON_FINITE if reports else False
        state = _begin(objective, stage, params, jax.random.fold_in(key, i), broken)
        some = lambda state, first, stage=stage, every=every: advance(objective, stage, state, first, every)
        state, record = jax.lax.scan(some, state, jnp.arange(0, stage.steps, every))
        params, steps = state.params, record.pop("step")
        record.pop("ending")
        reports.append(
            StageReport(
                stage=type(stage).__name__,
                planned=stage.steps,
                steps=state.step,
                ending=state.ending,
                record_steps=steps,
                history=record,
                fresh_loss=fresh_loss(objective, state.params, state.key),
                seconds_compiling=jnp.nan,
                seconds=jnp.nan,
                record_seconds=jnp.full(steps.shape, jnp.nan),
            )
        )
    return Fit(params, tuple(reports))
