"""``fit``: training by optimiser stages, from the host or inside a JAX transformation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from ..base.types import Device, Params, is_traced
from ..models.report import Fit, StageReport, Status
from .blocks import point_mesh
from .checkpoint import Checkpoint, digest, identity, open_journal
from .devices import to_devices
from .host_loop import HostOptions, lower_loss_params, run_phases
from .monitor import Monitor
from .objective import Objective
from .phase import Phase
from .runner import SingleRunner
from .stages import Stage
from .step import Record, TrainState, advance, compiled_start, fresh_loss


def fit(
    objective: Objective,
    params: Params,
    key: Array,
    stages: Sequence[Stage],
    *,
    time_budget: float | None = None,
    progress: bool | None = None,
    monitor: Monitor | None = None,
    record_every: int | None = None,
    checkpoint: Checkpoint | None = None,
    devices: Sequence[Device] | None = None,
) -> Fit:
    """Minimise an objective by one stage after the other.

    Under jit or vmap (over keys, coefficients, weights, learning rates) the results are the same. The clock, the
    progress bar, the monitor and the checkpoint are inactive there, every stage begins, and a member that has ended is
    left unchanged.

    Args:
        objective: the loss to minimise.
        params: the initial parameters.
        key: a JAX random key for the points.
        stages: e.g. ``(Adam(2000), LBFGS(2000))``.
        time_budget: wall-clock seconds for all stages including compiling, checked at every record. Each stage gets an
            equal share of the remaining time, so time that it does not use goes to the stages after it.
        progress: whether to show a progress bar on stderr, or one line in a notebook; None shows it on a terminal and
            in a notebook.
        monitor: params -> the relative L2 error, which the history records and the progress bar shows.
        record_every: steps between records of the history; default the stage's own.
        checkpoint: a folder from which a training that was killed resumes; an existing one is resumed.
        devices: the devices that share the points, such as ``jax.devices()``, which after
            ``jax.distributed.initialize()`` are those of all processes; default a single one. The results equal those
            of one device, up to rounding.

    Returns:
        ``Fit(params, stages)``. A stage whose loss becomes non-finite keeps its last finite parameters. No further
        stage begins after that, or once the budget is spent.

    Raises:
        TrainingInterrupted: Ctrl-C; it holds the Fit so far.
        ValueError: no stages, or a budget or record interval that is not positive.
        CheckpointError: the checkpoint is damaged or belongs to another training.
        RuntimeError: another process uses the checkpoint.
    """
    if record_every is not None and record_every < 1:
        raise ValueError(f"fit: record_every={record_every} must be at least 1")
    phase = Phase(objective, tuple(stages), key, 1.0)

    def get_identity() -> dict[str, Any]:
        return identity([phase], key) | {"initial parameters": digest(params), "record_every": record_every}

    options = HostOptions(time_budget, progress, monitor, record_every, checkpoint, devices)
    return optimise([phase], params, options, get_identity)


def optimise(
    phases: Sequence[Phase], params: Params, options: HostOptions, get_identity: Callable[[], Mapping[str, Any]]
) -> Fit:
    """Run all phases: as one traced computation inside a JAX transformation, from the host otherwise.

    Args:
        phases: the phases, in order.
        params: the initial parameters.
        options: options of the host loop; only ``record_every`` has an effect in a traced computation.
        get_identity: returns what identifies the training in its checkpoint. It copies all numbers to the host, so it
            is called only if there is a checkpoint.
    """
    check_arguments(phases[-1].stages, options.time_budget)
    if is_traced(phases, params):
        return _optimise_traced(phases, params, options.record_every)
    runner = SingleRunner(point_mesh(options.devices))

    def on_devices(objective: Objective) -> Objective:
        return to_devices(replace(objective, mesh=runner.mesh), runner.mesh, PartitionSpec())

    phases = [phase._replace(objective=on_devices(phase.objective)) for phase in phases]
    with open_journal(options.checkpoint, get_identity) as journal:
        return run_phases(runner, phases, params, options, journal)


def check_arguments(stages: Sequence[Stage], time_budget: float | None) -> None:
    """Raise ValueError if there are no stages or the budget is not positive."""
    if not stages:
        raise ValueError("fit: stages is empty; give at least one, e.g. (Adam(2000),)")
    if time_budget is not None and not time_budget > 0:
        raise ValueError(f"fit: time_budget={time_budget} must be a positive number of seconds")


def _optimise_traced(phases: Sequence[Phase], params: Params, record_every: int | None) -> Fit:
    """Run all phases as one traced computation, with the results of ``run_phases`` without a clock."""
    initial, reports = params, []
    for phase in phases:
        if reports:
            both = (params, initial)
            params = lower_loss_params(*both, *(fresh_loss(phase.objective, p, phase.key) for p in both))
        for number, stage in enumerate(phase.stages):
            # As in the host loop, a member whose last stage became non-finite takes no further steps.
            diverged = reports[-1].status == Status.NON_FINITE if number else False
            key = jax.random.fold_in(phase.key, number)
            params, report = _stage_traced(phase.objective, stage, params, key, record_every, diverged)
            reports.append(report)
    return Fit(params, tuple(reports))


def _stage_traced(
    objective: Objective, stage: Stage, params: Params, key: Array, record_every: int | None, diverged: Array | bool
) -> tuple[Params, StageReport]:
    every = min(record_every or stage.record_every, stage.steps)
    state = compiled_start(objective, stage, params, key, diverged)

    def advance_to_record(state: TrainState, first: Array) -> tuple[TrainState, Record]:
        return advance(objective, stage, state, first, every)

    state, record = jax.lax.scan(advance_to_record, state, jnp.arange(0, stage.steps, every))
    steps = record.pop("step")
    record.pop("status")
    return state.params, StageReport(
        stage=type(stage).__name__,
        planned=stage.steps,
        steps=state.step,
        status=state.status,
        record_steps=steps,
        history=record,
        fresh_loss=fresh_loss(objective, state.params, state.key),
        seconds_compiling=jnp.nan,
        seconds=jnp.nan,
        record_seconds=jnp.full(steps.shape, jnp.nan),
    )
