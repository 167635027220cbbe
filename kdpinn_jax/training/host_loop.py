"""The host's part of a training: it calls compiled functions, watches the clock, and keeps records and checkpoints."""

import contextlib
import importlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from threadpoolctl import threadpool_limits

from ..base.types import Device, Params
from ..models.report import Fit, StageReport, Status, TrainingInterrupted
from .checkpoint import Checkpoint, Journal
from .checkpoint_file import RunningStage, scalar_or_array
from .interrupt import Interrupt, deferred_interrupt
from .monitor import Monitor
from .phase import Phase
from .progress import Progress, progress_display
from .runner import Runner
from .stages import Stage


class HostOptions(NamedTuple):
    """What the host does during a training; ``fit`` documents each option."""

    time_budget: float | None = None
    progress: bool | None = None
    monitor: Monitor | None = None
    record_every: int | None = None
    checkpoint: Checkpoint | None = None
    devices: Sequence[Device] | None = None


class _Host(NamedTuple):
    """The tools of the host loop."""

    runner: Runner
    options: HostOptions
    journal: Journal
    bar: Progress
    interrupt: Interrupt


def run_phases(runner: Runner, phases: Sequence[Phase], params: Params, options: HostOptions, journal: Journal) -> Fit:
    """Run the stages of all phases in order.

    A phase ends early if no training has a finite loss or its time is spent. A later phase starts from the parameters
    reached so far or from ``params``, whichever have the smaller loss on its objective.

    Raises:
        TrainingInterrupted: Ctrl-C; it holds the Fit so far.
    """
    initial, reports = params, []
    try:
        with (
            deferred_interrupt() as interrupt,
            progress_display(options.progress, options.time_budget) as bar,
            _one_blas_thread(),
        ):
            host = _Host(runner, options, journal, bar, interrupt)
            for phase in phases:
                for number in range(len(phase.stages)):
                    replayed = journal.replay(params)
                    if replayed is None:
                        start, diverged = params, np.asarray(False)
                        if number:
                            diverged = np.equal(reports[-1].status, Status.NON_FINITE)
                        elif reports:
                            start = _better_start(runner, phase, params, initial)
                        params, report = _run_stage(host, phase, number, start, diverged)
                    else:
                        params, report = replayed
                    reports.append(report)
                    if np.any(np.equal(report.status, Status.INTERRUPTED)):
                        raise KeyboardInterrupt
                    if replayed is None:
                        journal.record_stage(params, report)
                    late, stopped = runner.broadcast_flags(
                        journal.elapsed() > _deadline(phase, options), interrupt.requested
                    )
                    if stopped:
                        raise KeyboardInterrupt
                    if late or np.all(np.equal(report.status, Status.NON_FINITE)):
                        break
    except KeyboardInterrupt:
        raise TrainingInterrupted(Fit(params, tuple(reports))) from None
    return Fit(params, tuple(reports))


def _one_blas_thread() -> threadpool_limits:
    """Limit SciPy's BLAS, from which XLA takes its factorisations, to one thread.

    BLAS threads wait for each other in busy loops: next to another busy process a factorisation of 10 ms took up to
    8 s. One thread costs little, because the large products use XLA's own threads.
    """
    importlib.import_module("scipy.linalg.cython_lapack")  # a limit applies to libraries that are already loaded
    return threadpool_limits(1, user_api="blas")


def _deadline(phase: Phase, options: HostOptions) -> float:
    """The end of a phase by the journal's clock, in seconds."""
    return phase.until * (options.time_budget or math.inf)


def _better_start(runner: Runner, phase: Phase, params: Params, initial: Params) -> Params:
    """The parameters with the smaller loss on the objective of a phase."""
    both = runner.to_host((params, initial))
    losses = (runner.to_host(runner.fresh_loss(phase.objective, p, phase.key)) for p in both)
    return lower_loss_params(*both, *losses)


def lower_loss_params(params: Params, other: Params, loss: ArrayLike, other_loss: ArrayLike) -> Params:
    """The parameters with the smaller loss, for each member of a batch; ``other`` if the loss of ``params`` is NaN."""
    kept = jnp.less_equal(loss, other_loss)
    return jax.tree.map(
        lambda a, b: jnp.where(kept.reshape(kept.shape + (1,) * (a.ndim - kept.ndim)), a, b), params, other
    )


def _run_stage(
    host: _Host, phase: Phase, number: int, params: Params, diverged: ArrayLike
) -> tuple[Params, StageReport]:
    """Run stage ``number`` of a phase until it ends, its time is spent, or Ctrl-C."""
    runner, options, journal, bar, interrupt = host
    objective, stage = phase.objective, phase.stages[number]
    title = f"{type(stage).__name__} ({number + 1}/{len(phase.stages)})"
    every = min(options.record_every or stage.record_every, stage.steps)
    run = RunningStage([], [], journal.elapsed(), 0.0)
    bar.begin(f"{title}, compiling", stage.steps)
    state = runner.start(objective, stage, params, phase.key, number, diverged)
    # A call with no steps compiles the program that later calls run, so its time is that of compiling alone.
    state, record = jax.block_until_ready(runner.advance(objective, stage, state, 0, 0))
    run = run._replace(compiling=journal.elapsed() - run.began)
    if restored := journal.resume_stage(state):
        state, run = runner.to_devices(restored[0]), restored[1]
        state, record = runner.advance(objective, stage, state, 0, 0)
    bar.begin(title, stage.steps)
    # A stage gets an equal share of the time that is left, so that a slow one leaves time for the next.
    deadline = run.began + (_deadline(phase, options) - run.began) / (len(phase.stages) - number)
    record = runner.to_host(record)
    while True:
        status = np.asarray(record["status"])
        if not np.any(status == Status.RUNNING):
            break
        late, due, stopped = runner.broadcast_flags(journal.elapsed() > deadline, journal.due, interrupt.requested)
        if stopped or (due and not late):
            journal.record_running(runner.to_host(state), run)
        if stopped or late:
            status = np.where(status == Status.RUNNING, Status.INTERRUPTED if stopped else Status.TIME_BUDGET, status)
            break
        state, record = runner.advance(objective, stage, state, len(run.rows) * every, every)
        record = runner.to_host(record)
        row = {name: np.asarray(value) for name, value in record.items() if name != "status"}
        if options.monitor is not None:
            row["relative_l2"] = np.asarray(options.monitor(runner.to_host(state.params)))
        row["seconds"] = np.asarray(journal.elapsed() - run.began - run.compiling)
        run.rows.append(row)
        bar.update(int(np.max(row["step"])), {name: float(np.median(value)) for name, value in row.items()})
    fresh_loss = np.asarray(np.nan)
    if run.rows:
        params = runner.to_host(state.params)
        with contextlib.suppress(KeyboardInterrupt):  # an interrupted evaluation must not lose the parameters
            fresh_loss = np.asarray(runner.to_host(runner.fresh_loss(objective, state.params, state.key)))
    return params, _report(stage, run, status, fresh_loss, journal.elapsed())


def _report(stage: Stage, run: RunningStage, status: np.ndarray, fresh_loss: np.ndarray, now: float) -> StageReport:
    columns = {name: np.stack([row[name] for row in run.rows], axis=-1) for name in (run.rows[0] if run.rows else ())}
    return StageReport(
        stage=type(stage).__name__,
        planned=stage.steps,
        steps=scalar_or_array(run.rows[-1]["step"] if run.rows else np.zeros_like(status)),
        status=scalar_or_array(status),
        record_steps=columns.pop("step", np.zeros((*status.shape, 0), int)),
        record_seconds=columns.pop("seconds", np.zeros(0)),
        history=columns,
        fresh_loss=scalar_or_array(fresh_loss),
        seconds_compiling=run.compiling,
        seconds=now - run.began - run.compiling,
    )
