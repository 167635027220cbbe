"""``fit``: training by stages, from the host or inside a JAX transformation."""

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
from .step import advance, compiled_start, fresh_loss


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

    Args:
        objective: what is minimised.
        params: the initial parameters.
        key: a JAX random key for the points.
        stages: e.g. ``(Adam(2000), LBFGS(2000))``.
        time_budget: wall-clock seconds for all stages including compiling, checked at every record. Each stage gets an
            equal share of the time that is left, and passes on what it does not use.
        progress: whether to show a progress bar on stderr; None shows it on a terminal only.
        monitor: params -> an error to record in the history and to show in the bar (relative L2).
        record_every: steps between records of the history; default the stage's own.
        checkpoint: where to keep the state from which a killed training can resume; an existing one is resumed.
        devices: the devices that share the points, such as ``jax.devices()``, which after
            ``jax.distributed.initialize()`` are those of all processes; default a single one. The results equal those
            of one device, up to rounding.

    Returns:
        ``Fit(params, stages)``. A stage whose loss becomes non-finite keeps its last finite parameters and is the last
        one; so is the stage that spends the budget.

    Raises:
        TrainingInterrupted: Ctrl-C; it holds the Fit so far.
        ValueError: no stages, or a budget or record interval that is not positive.
        CheckpointError: the checkpoint is damaged or belongs to another training.
        RuntimeError: another process uses the checkpoint.

    Under jit or vmap (keys, coefficients, weights, learning rates) the results are the same. There the clock, the bar,
    the monitor and the checkpoint are inactive, every stage begins, and a member that has ended is left unchanged.
    """
    if record_every is not None and record_every < 1:
        raise ValueError(f"fit: record_every={record_every} must be at least 1")
    phase = Phase(objective, tuple(stages), key, 1.0)
    # A digest copies all numbers to the host, so it is only computed for a checkpoint.
    identified = lambda: identity([phase], key) | {"initial parameters": digest(params), "record_every": record_every}
    options = HostOptions(time_budget, progress, monitor, record_every, checkpoint, devices)
    return optimise([phase], params, options, identified)


def optimise(
    phases: Sequence[Phase], params: Params, options: HostOptions, identified: Callable[[], Mapping[str, Any]]
) -> Fit:
    """Run all phases: as one traced computation inside a JAX transformation, from the host otherwise.

    Args:
        phases: in their order.
        params: the initial parameters.
        options: for the host; only ``record_every`` has an effect in a traced computation.
        identified: identifies the training for its checkpoint.
    """
    check_arguments(phases[-1].stages, options.time_budget)
    if is_traced(phases, params):
        return _optimise_traced(phases, params, options.record_every)
    runner = SingleRunner(point_mesh(options.devices))
    on_devices = lambda target: to_devices(replace(target, mesh=runner.mesh), runner.mesh, PartitionSpec())
    phases = [phase._replace(objective=on_devices(phase.objective)) for phase in phases]
    with open_journal(options.checkpoint, identified) as journal:
        return run_phases(runner, phases, params, options, journal)


def check_arguments(stages: Sequence[Stage], time_budget: float | None) -> None:
    """Raise ValueError if there are no stages or the budget is not positive."""
    if not stages:
        raise ValueError("fit: stages is empty; give at least one, e.g. (Adam(2000),)")
    if time_budget is not None and not time_budget > 0:
        raise ValueError(f"fit: time_budget={time_budget} must be a positive number of seconds")


def _optimise_traced(phases: Sequence[Phase], params: Params, record_every: int | None) -> Fit:
    initial, reports = params, []
    for phase in phases:
        if reports:
            both = (params, initial)
            params = lower_loss_params(*both, *(fresh_loss(phase.objective, p, phase.key) for p in both))
        for number, stage in enumerate(phase.stages):
            # As from the host, a member whose last stage became non-finite takes no further steps.
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
    some = lambda state, first: advance(objective, stage, state, first, every)
    state, record = jax.lax.scan(some, state, jnp.arange(0, stage.steps, every))
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
