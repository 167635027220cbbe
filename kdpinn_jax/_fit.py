"""``fit``: the one training loop. Stages run as jitted scans; the host only watches, reports and keeps time."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from threadpoolctl import threadpool_limits

from ._compiler import known_options
from ._draw import draw_evenly, renew, sample
from ._objective import Objective, mean_square_at, precision, weighted_sum
from ._progress import Progress
from ._report import Fit, StageReport, TrainingInterrupted
from ._stages import Ending, Stage
from ._types import Params, Points, is_traced


class _State(NamedTuple):
    params: Params
    proven: Params  # the last parameters at which a loss was seen, and was finite
    memory: Any
    points: Points
    parts: dict[str, Array]  # the mean squares last seen
    key: Array
    step: Array
    ending: Array


@jax.jit
def _begin(objective: Objective, stage: Stage, params: Params, key: Array) -> _State:
    key, key_points = jax.random.split(key)
    points = draw_evenly(objective, stage.sampling, key_points)
    memory = stage.init(objective, params, points)
    unseen = {name: jnp.full((), jnp.nan, precision(params)) for name in objective.terms}
    return _State(params, params, memory, points, unseen, key, jnp.asarray(0), jnp.asarray(Ending.RUNNING))


def _step(objective: Objective, stage: Stage, state: _State, count: Array) -> _State:
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
    return _State(kept, proven, new.memory, points, parts, key, step + 1, ending)


def _advance(
    objective: Objective, stage: Stage, state: _State, first: ArrayLike, steps: ArrayLike
) -> tuple[_State, dict[str, Array]]:
    """At most ``steps`` steps from number ``first`` on, and the mean square of every term as the last of them saw it; a
    stage that has ended stands still."""

    def one(count: Array, state: _State) -> _State:
        running = state.ending == Ending.RUNNING
        return jax.lax.cond(running, lambda s: _step(objective, stage, s, count), lambda s: s, state)

    state = jax.lax.fori_loop(first, first + steps, one, state)
    return state, {"step": state.step, "loss": weighted_sum(objective, state.parts), **state.parts}


@functools.cache
def _compiled_advance(options: tuple[tuple[str, bool | int], ...]) -> Callable[..., tuple[_State, dict[str, Array]]]:
    # Only a call that is not itself being traced may choose its compiler's options.
    return jax.jit(_advance, compiler_options=known_options(**dict(options)))


def _fresh_loss(objective: Objective, state: _State) -> Array:
    """The loss at points training did not see."""
    rows = _sample(objective, jax.random.fold_in(state.key, 1)).rows
    problem, network, coefficients = objective.problem, objective.network, objective.coefficients
    parts = {
        name: mean_square_at(problem, network, term, state.params, coefficients, rows[name])
        for name, term in objective.terms.items()
    }
    return weighted_sum(objective, parts)


_sample = jax.jit(sample)


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

    Returns:
        ``Fit(params, stages)``. A stage that turns non-finite keeps its last finite parameters, and no later stage
        begins; so it is when the budget is spent.

    Raises:
        TrainingInterrupted: Ctrl-C; it holds the Fit so far.
        ValueError: no stages, or a budget or record interval that is not positive.

    Under jit or vmap (keys, coefficients, weights, learning rates) the same numbers come out; the clock, the bar and
    the monitor are silent there, every stage begins, and a member that has ended stands still.
    """
    check(stages, time_budget)
    if record_every is not None and record_every < 1:
        raise ValueError(f"fit: record_every={record_every} must be at least 1")
    if is_traced(objective, params, key, tuple(stages)):
        return _fit_traced(objective, params, key, stages, record_every)
    start = time.perf_counter()
    deadline = start + time_budget if time_budget else np.inf
    reports: list[StageReport] = []
    try:
        # LAPACK's own threads wait for each other by spinning: beside another busy process a factorisation of 10 ms
        # took up to 8 s. One thread costs little, since the products, where the time goes, run in XLA's pool.
        with threadpool_limits(1, user_api="blas"), Progress(progress, time_budget) as bar:
            for i, stage in enumerate(stages):
                now = time.perf_counter()
                # A stage may take its share of what is left, so that a slow first one leaves time for the next.
                share = now + (deadline - now) / (len(stages) - i)
                watch = _Watch(share, bar, monitor, record_every, title=f"{_name(stage)} ({i + 1}/{len(stages)})")
                params, report = _run_stage(objective, stage, params, jax.random.fold_in(key, i), watch)
                reports.append(report)
                ending = Ending(int(report.ending))
                if ending is Ending.INTERRUPTED:
                    raise KeyboardInterrupt
                if ending is Ending.NON_FINITE or time.perf_counter() > deadline:
                    break
    except KeyboardInterrupt:  # during a stage or between two of them
        raise TrainingInterrupted(Fit(params, tuple(reports))) from None
    return Fit(params, tuple(reports))


def _name(stage: Stage) -> str:
    return type(stage).__name__


class _Watch(NamedTuple):
    """What the host looks at between two calls of ``_advance``."""

    deadline: float
    bar: Progress
    monitor: Callable[[Params], Array] | None
    record_every: int | None
    title: str


def _run_stage(
    objective: Objective, stage: Stage, params: Params, key: Array, watch: _Watch
) -> tuple[Params, StageReport]:
    every = min(watch.record_every or stage.record_every, stage.steps)
    rows: list[dict[str, float]] = []
    start = time.perf_counter()
    compiling, state, ending = 0.0, None, Ending.RUNNING
    try:
        watch.bar.begin(watch.title + ", compiling", stage.steps)
        state = _begin(objective, stage, params, key)
        advance = _compiled_advance(tuple(stage.compiler_options.items()))
        # The same call on an ended state compiles it and takes no step: that time is the compiler's alone.
        ended = state._replace(ending=jnp.asarray(Ending.COMPLETED))
        jax.block_until_ready(advance(objective, stage, ended, 0, every))
        compiling = time.perf_counter() - start
        watch.bar.begin(watch.title, stage.steps)
        while ending is Ending.RUNNING:
            if time.perf_counter() > watch.deadline:
                ending = Ending.TIME_BUDGET
                break
            state, record = advance(objective, stage, state, len(rows) * every, every)
            row = {name: float(value) for name, value in record.items()}
            if watch.monitor is not None:
                row["relative_l2"] = float(watch.monitor(state.params))
            rows.append(row | {"seconds": time.perf_counter() - start - compiling})
            watch.bar.update(int(row["step"]), row)
            ending = Ending(int(state.ending))
    except KeyboardInterrupt:
        ending = Ending.INTERRUPTED
    fresh_loss = np.nan
    if state is not None and rows:
        params = state.params
        try:
            fresh_loss = float(_fresh_loss(objective, state))
        except KeyboardInterrupt:
            ending = Ending.INTERRUPTED
    columns = {name: np.asarray([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    return params, StageReport(
        stage=_name(stage),
        planned=stage.steps,
        steps=int(rows[-1]["step"]) if rows else 0,
        ending=int(ending),
        record_steps=columns.pop("step", np.zeros(0)).astype(int),
        record_seconds=columns.pop("seconds", np.zeros(0)),
        history=columns,
        fresh_loss=fresh_loss,
        seconds_compiling=compiling,
        seconds=time.perf_counter() - start - compiling,
    )


def _fit_traced(
    objective: Objective, params: Params, key: Array, stages: Sequence[Stage], record_every: int | None
) -> Fit:
    reports = []
    for i, stage in enumerate(stages):
        every = min(record_every or stage.record_every, stage.steps)
        state = _begin(objective, stage, params, jax.random.fold_in(key, i))
        if reports:  # a member whose last stage turned non-finite stands still, as it does outside vmap
            broken = reports[-1].ending == Ending.NON_FINITE
            state = state._replace(ending=jnp.where(broken, Ending.NON_FINITE, state.ending))
        advance = lambda state, first, stage=stage, every=every: _advance(objective, stage, state, first, every)
        state, record = jax.lax.scan(advance, state, jnp.arange(0, stage.steps, every))
        params, steps = state.params, record.pop("step")
        reports.append(
            StageReport(
                stage=_name(stage),
                planned=stage.steps,
                steps=state.step,
                ending=state.ending,
                record_steps=steps,
                history=record,
                fresh_loss=_fresh_loss(objective, state),
                seconds_compiling=jnp.nan,
                seconds=jnp.nan,
                record_seconds=jnp.full(steps.shape, jnp.nan),
            )
        )
    return Fit(params, tuple(reports))
