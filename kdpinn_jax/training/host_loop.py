"""The host's part of a training: it calls what is compiled, watches the clock, and keeps records and checkpoints.

One training and a batch of them are the same here: numbers of a batch have a leading axis, its members.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from threadpoolctl import threadpool_limits

from ..base.types import Params, Points
from ..models.report import Fit, StageReport, TrainingInterrupted
from .checkpoint import Journal
from .checkpoint_file import Running
from .interrupt import Interrupt, noted_interrupt
from .progress import Progress
from .stages import Ending, Stage


class State(NamedTuple):
    """What a stage goes on from."""

    params: Params
    proven: Params  # the last parameters at which a loss was seen, and was finite
    memory: Any
    points: Points
    parts: dict[str, Array]  # the mean squares last seen
    key: Array
    step: Array
    ending: Array


@runtime_checkable  # the tests check argument types while they run
class Compiled(Protocol):
    """A training's compiled functions."""

    def begin(self, stage: Stage, params: Params, key: Array, number: int, broken: Any) -> State:
        """The state before the first step of stage ``number``; whoever is broken stands still from the start."""
        ...

    def advance(self, stage: Stage, state: State, first: int, steps: int) -> tuple[State, dict[str, Array]]:
        """At most ``steps`` steps from number ``first`` on, and what the host looks at: ``"step"``, ``"ending"``,
        ``"loss"`` and the mean square of every term. Who has ended stands still."""
        ...

    def fresh_loss(self, params: Params, key: Array) -> Array:
        """The loss at points training did not see."""
        ...

    def placed(self, tree: Any) -> Any:
        """Numbers from the host, on the devices where the functions want them."""
        ...

    def on_host(self, tree: Any) -> Any:
        """What lies on the devices of all processes, for this one to read."""
        ...

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        """What the first process says, where several run the same program: clocks differ."""
        ...


class Watch(NamedTuple):
    """What the host does beside the training."""

    journal: Journal
    progress: bool | None = None
    time_budget: float | None = None
    monitor: Callable[[Params], Array] | None = None
    record_every: int | None = None


class Phase(NamedTuple):
    """Stages on one objective, with a key for their points, until a deadline by the journal's clock."""

    compiled: Compiled
    stages: Sequence[Stage]
    key: Array
    deadline: float


def run_phases(params: Params, phases: Sequence[Phase], watch: Watch) -> Fit:
    """One phase after the other, each one's stages in turn. A stage that leaves nobody with a finite loss, or no time,
    ends its phase. The next one goes on from what came of it, or, where they have a smaller loss, from ``params``.

    Raises:
        TrainingInterrupted: Ctrl-C; it holds the Fit so far.
    """
    ended: list[tuple[Params, StageReport]] = []
    so_far = lambda: Fit(ended[-1][0] if ended else params, tuple(report for _, report in ended))
    with noted_interrupt() as interrupt:
        try:
            for phase in phases:
                _run_phase(phase, params, ended, watch, interrupt)
        except KeyboardInterrupt:
            raise TrainingInterrupted(so_far()) from None
    return so_far()


def _run_phase(
    phase: Phase, initial: Params, ended: list[tuple[Params, StageReport]], watch: Watch, interrupt: Interrupt
) -> None:
    """Run a phase's stages, and add each to what has ended."""
    compiled, stages, journal = phase.compiled, phase.stages, watch.journal
    params = ended[-1][0] if ended else initial
    # LAPACK's own threads wait for each other by spinning: beside another busy process a factorisation of 10 ms took up
    # to 8 s. One thread costs little, since the products, where the time goes, run in XLA's pool.
    with threadpool_limits(1, user_api="blas"), Progress(watch.progress, watch.time_budget) as bar:
        for i, stage in enumerate(stages):
            replayed = journal.replayed(params)
            if replayed:
                params, report = replayed
            else:
                broken = np.equal(ended[-1][1].ending, Ending.NON_FINITE) if i else np.asarray(False)
                if ended and i == 0:
                    both = compiled.on_host((params, initial))
                    params = better(*both, *(compiled.on_host(compiled.fresh_loss(p, phase.key)) for p in both))
                title = f"{type(stage).__name__} ({i + 1}/{len(stages)})"
                turn = _Turn(stage, title, phase.deadline, len(stages) - i)
                begin = functools.partial(compiled.begin, stage, params, phase.key, i, broken)
                params, report = _run_stage(compiled, turn, params, begin, watch, bar, interrupt)
            ended.append((params, report))
            if np.any(np.equal(report.ending, Ending.INTERRUPTED)):
                raise KeyboardInterrupt
            if not replayed:
                journal.ended(params, report)
            late, stopped = compiled.agreed(journal.elapsed() > phase.deadline, interrupt.asked)
            if stopped:
                raise KeyboardInterrupt
            if late or np.all(np.equal(report.ending, Ending.NON_FINITE)):
                break


def better(params: Params, other: Params, loss: ArrayLike, its_loss: ArrayLike) -> Params:
    """Whichever has the smaller loss, of each member of a batch; ``other`` where that of ``params`` is no number."""
    kept = jnp.less_equal(loss, its_loss)
    return jax.tree.map(
        lambda a, b: jnp.where(kept.reshape(kept.shape + (1,) * (a.ndim - kept.ndim)), a, b), params, other
    )


class _Turn(NamedTuple):
    """A stage whose turn it is, and how many share what is left of the time."""

    stage: Stage
    title: str
    deadline: float
    sharing: int


def _run_stage(
    compiled: Compiled,
    turn: _Turn,
    params: Params,
    begin: Callable[[], State],
    watch: Watch,
    bar: Progress,
    interrupt: Interrupt,
) -> tuple[Params, StageReport]:
    """Parameters and report of one stage."""
    journal, stage = watch.journal, turn.stage
    every = min(watch.record_every or stage.record_every, stage.steps)
    run = Running([], [], journal.elapsed(), 0.0)
    bar.begin(turn.title + ", compiling", stage.steps)
    state = begin()
    # A call without a step compiles what the others run: that time is the compiler's alone.
    state, record = jax.block_until_ready(compiled.advance(stage, state, 0, 0))
    run = run._replace(compiling=journal.elapsed() - run.began)
    if restored := journal.running(state):
        state, run = compiled.placed(restored[0]), restored[1]
        state, record = compiled.advance(stage, state, 0, 0)
    bar.begin(turn.title, stage.steps)
    # A stage may take its share of what is left, so that a slow first one leaves time for the next.
    deadline = run.began + (turn.deadline - run.began) / turn.sharing
    record = compiled.on_host(record)
    while True:
        ending = np.asarray(record["ending"])
        if not np.any(ending == Ending.RUNNING):
            break
        late, due, stopped = compiled.agreed(journal.elapsed() > deadline, journal.due, interrupt.asked)
        if stopped or (due and not late):
            journal.note(compiled.on_host(state), run)
        if stopped or late:
            ending = np.where(ending == Ending.RUNNING, Ending.INTERRUPTED if stopped else Ending.TIME_BUDGET, ending)
            break
        state, record = compiled.advance(stage, state, len(run.rows) * every, every)
        record = compiled.on_host(record)
        row = {name: np.asarray(value) for name, value in record.items() if name != "ending"}
        if watch.monitor is not None:
            row["relative_l2"] = np.asarray(watch.monitor(compiled.on_host(state.params)))
        row["seconds"] = np.asarray(journal.elapsed() - run.began - run.compiling)
        run.rows.append(row)
        bar.update(int(np.max(row["step"])), {name: float(np.median(value)) for name, value in row.items()})
    fresh_loss = np.asarray(np.nan)
    if run.rows:
        params = compiled.on_host(state.params)
        with contextlib.suppress(KeyboardInterrupt):  # what was trained is not lost for this number
            fresh_loss = np.asarray(compiled.on_host(compiled.fresh_loss(state.params, state.key)))
    columns = {name: np.stack([row[name] for row in run.rows], axis=-1) for name in (run.rows[0] if run.rows else ())}
    report = StageReport(
        stage=type(stage).__name__,
        planned=stage.steps,
        steps=_plain(run.rows[-1]["step"] if run.rows else np.zeros_like(ending)),
        ending=_plain(ending),
        record_steps=columns.pop("step", np.zeros((*ending.shape, 0), int)),
        record_seconds=columns.pop("seconds", np.zeros(0)),
        history=columns,
        fresh_loss=_plain(fresh_loss),
        seconds_compiling=run.compiling,
        seconds=journal.elapsed() - run.began - run.compiling,
    )
    return params, report


def _plain(value: np.ndarray) -> Any:
    return value.item() if value.ndim == 0 else value
