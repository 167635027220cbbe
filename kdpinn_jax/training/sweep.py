"""``sweep``: many trainings of one problem, or many students of one teacher, batched and divided among all devices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ..base.types import Device, Params
from ..models.model import Model
from ..models.report import Fit, StageReport, Status
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from .batch import BatchRunner, member_mesh
from .checkpoint import Checkpoint, digest, identity, open_journal
from .fit import check_arguments
from .host_loop import HostOptions, run_phases
from .objective import Objective
from .phase import Phase
from .plan import IMITATE, default_stages, student_phases, teacher_phases
from .precision import check_precision
from .stages import Stage

#: The number of members that a GPU or TPU trains at a time. A CPU core trains one, whose working set fits its cache.
CHUNK = 64


@dataclass(frozen=True)
class Member:
    """One training of a sweep, by its differences from the others.

    Attributes:
        seed: the seed of its random key.
        network: default the sweep's.
        stages: default the sweep's.
        coefficients: those that differ from the problem's.
        weights: those that differ from the problem's.
        start: initial parameters; default fresh ones.
        varied: the varied values that ``sweep_table`` shows, ``{"nu": 0.01}``.
    """

    seed: int = 0
    network: MLP | None = None
    stages: tuple[Stage, ...] | None = None
    coefficients: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    start: Params | None = None
    varied: Mapping[str, Any] = field(default_factory=dict)


def sweep(
    source: Problem | Model,
    members: Sequence[Member],
    *,
    network: MLP | None = None,
    imitate: Sequence[Stage] = IMITATE,
    stages: Sequence[Stage] | None = None,
    terms: Mapping[str, Term] | None = None,
    chunk: int | None = None,
    devices: Sequence[Device] | None = None,
    key: Callable[[int], Array] = jax.random.key,
    time_budget: float | None = None,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Model, ...]:
    """Train many members together. Each gets the results of a separate training, up to rounding.

    Members that differ only in numbers (seeds, coefficients, weights, learning rates) form one program; members with
    other networks or other kinds of stages are grouped, and the groups are trained one after the other. The members of
    a group are divided among all devices. A member whose loss becomes non-finite stops alone.

    Args:
        source: a problem, whose teachers are trained as by ``train_teacher``, or a teacher, whose students are trained
            as by ``distill``.
        members: e.g. ``kd.members(problem, seed=range(16))``.
        network: default network of all members.
        imitate: as in ``distill``.
        stages: default stages of all members; None as in ``train_teacher``.
        terms: as in ``train_teacher``.
        chunk: the number of members in a device's working memory; default 1 on a CPU, 64 on other devices.
        devices: default all devices of all processes. After ``jax.distributed.initialize()`` every process must call
            this function with the same arguments and gets the same models.
        key: the random key of a seed.
        time_budget: wall-clock seconds for all members, divided among the groups by their size.
        progress: as in ``fit``.
        checkpoint: as in ``fit``; each group has its own subfolder.
        dtype: as in ``train_teacher``.

    Returns:
        The models, in the order of the members. The times in their reports are those of their whole group.

    Raises:
        ValueError: no members, a chunk below one, or unknown names.
        TrainingInterrupted: Ctrl-C.
        CheckpointError: as in ``fit``.
        RuntimeError: as in ``fit``.
    """
    if not members:
        raise ValueError("sweep: members is empty; give at least one, e.g. kd.members(problem, seed=range(16))")
    if chunk is not None and chunk < 1:
        raise ValueError(f"sweep: chunk={chunk} must be at least 1")
    mesh = member_mesh(jax.devices() if devices is None else devices)
    runner = BatchRunner(mesh, chunk or (1 if mesh.devices.flat[0].platform == "cpu" else CHUNK))
    stages = default_stages(time_budget) if stages is None else stages
    groups: dict[Any, list[int]] = {}
    plans: list[_Plan] = []
    for i, member in enumerate(members):
        plan = _plan(source, member, key(member.seed), network, imitate, stages, terms)
        check_arguments(plan.phases[-1].stages, time_budget)
        plans.append(plan)
        groups.setdefault(plan.structure, []).append(i)
    models: dict[int, Model] = {}
    for number, group in enumerate(groups.values()):
        folder = checkpoint and replace(checkpoint, folder=Path(checkpoint.folder) / f"group-{number}")
        budget = time_budget and time_budget * len(group) / len(members)
        trained = _train_group(
            runner, [plans[i] for i in group], HostOptions(budget, progress, checkpoint=folder), dtype
        )
        models |= dict(zip(group, trained, strict=True))
    return tuple(models[i] for i in range(len(members)))


@dataclass(frozen=True)
class _Plan:
    """The training of one member."""

    key: Array
    key_init: Array
    phases: tuple[Phase, ...]
    start: Params | None

    @property
    def structure(self) -> Any:
        """The properties that the members of one program have in common."""
        phases = tuple(
            (p.objective.network, tuple(sorted(p.objective.terms)), jax.tree.structure(p.stages)) for p in self.phases
        )
        return phases, self.start is None


def _plan(
    source: Problem | Model,
    member: Member,
    key: Array,
    network: MLP | None,
    imitate: Sequence[Stage],
    stages: Sequence[Stage],
    terms: Mapping[str, Term] | None,
) -> _Plan:
    key_init, key_fit = jax.random.split(key)
    network, stages = member.network or network, member.stages or stages
    differences = (member.weights, member.coefficients, terms)
    if isinstance(source, Model):
        phases = student_phases(source, key_fit, network, imitate, stages, *differences)
    else:
        phases = teacher_phases(source, key_fit, network, stages, *differences)
    return _Plan(key, key_init, phases, member.start)


def _train_group(
    runner: BatchRunner, plans: Sequence[_Plan], options: HostOptions, dtype: DTypeLike | None
) -> list[Model]:
    """The models of members that differ only in numbers."""
    # The number of members must be a multiple of the number of devices, so the last one may be trained several times.
    padded = [*plans, *[plans[-1]] * (-len(plans) % runner.mesh.size)]
    runner = runner._replace(chunk=min(runner.chunk, len(padded) // runner.mesh.size))
    phases = [_stack(phases) for phases in zip(*(plan.phases for plan in padded), strict=True)]
    keys, starts = jnp.stack([plan.key for plan in padded]), [plan.start for plan in padded]
    with open_journal(
        options.checkpoint, lambda: identity(phases, keys) | {"initial parameters": digest(starts)}
    ) as journal:
        if starts[0] is None:
            params = runner.init(phases[-1].objective, jnp.stack([plan.key_init for plan in padded]))
            check_precision(params, dtype, "sweep")
        else:
            params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        fitted = run_phases(runner, phases, params, options, journal)
    fitted = jax.tree.map(np.asarray, fitted)
    return [_model(plan.phases[-1].objective, fitted, i) for i, plan in enumerate(plans)]


def _stack(phases: Sequence[Phase]) -> Phase:
    """One phase of all members: their numbers are stacked, and everything else is that of the first member."""
    first = phases[0]

    def stack(*numbers: ArrayLike) -> Array:
        return jnp.stack([jnp.asarray(number, jnp.zeros(()).dtype) for number in numbers])

    weights = jax.tree.map(stack, *(phase.objective.weights for phase in phases))
    coefficients = jax.tree.map(stack, *(phase.objective.coefficients for phase in phases))
    return Phase(
        replace(first.objective, weights=weights, coefficients=coefficients),
        jax.tree.map(stack, *(phase.stages for phase in phases)),
        jnp.stack([phase.key for phase in phases]),
        first.until,
    )


def _model(target: Objective, fitted: Fit, i: int) -> Model:
    """Member i as an ordinary model, without the stages that it never began."""
    training = []
    for report in fitted.stages:
        if not (training and training[-1].status == Status.NON_FINITE and report.steps[i] == 0):
            training.append(_member_report(report, i))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), fitted.params)
    return Model(target.problem, target.network, params, target.coefficients, tuple(training))


def _member_report(report: StageReport, i: int) -> StageReport:
    """The report of member i, with records up to its own end."""
    steps = int(report.steps[i])
    count = int(np.searchsorted(report.record_steps[i], steps)) + 1
    return replace(
        report,
        steps=steps,
        status=int(report.status[i]),
        record_steps=report.record_steps[i][:count],
        record_seconds=np.asarray(report.record_seconds)[:count],
        history={name: values[i][:count] for name, values in report.history.items()},
        fresh_loss=float(np.broadcast_to(report.fresh_loss, len(report.steps))[i]),
    )
