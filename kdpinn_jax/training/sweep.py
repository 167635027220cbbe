"""Sweeps: many trainings of one problem, or many students of one teacher, batched and shared out to all devices."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from ..base.types import Params
from ..models.model import Model
from ..models.report import Fit, StageReport
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from .batch import Batch, Numbers, over
from .checkpoint import Checkpoint, digest, identity, opened
from .distill import IMITATE, STAGES, Part, part_keys, plan_student, plan_teacher
from .fit import check
from .host_loop import Phase, Watch, run_phases
from .stages import Ending, Stage

#: Members that a GPU or a TPU trains at a time; a core of a CPU trains one, whose working set then fits its cache.
CHUNK = 64


@dataclass(frozen=True)
class Member:
    """One training of a sweep: what it has of its own, where it differs from the others.

    Attributes:
        seed: of its random key.
        network, stages: None takes those of the sweep.
        coefficients, weights: those that differ from the problem's.
        start: parameters to go on from, in place of fresh ones.
        varied: what tables call it, ``{"nu": 0.01}``.
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
    stages: Sequence[Stage] = STAGES,
    terms: Mapping[str, Term] | None = None,
    chunk: int | None = None,
    devices: Sequence[Any] | None = None,
    key: Callable[[int], Array] = jax.random.key,
    time_budget: float | None = None,
    progress: bool | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[Model, ...]:
    """Train many members together: of a problem, teachers, as ``train_teacher``; of a model, its students, as
    ``distill``. Each has the numbers of its own training, up to rounding.

    Members that differ in numbers alone (seeds, coefficients, weights, learning rates) are one program; those with
    another network or other kinds of stages are grouped, and one group is trained after the other. The members of a
    group are shared out to all devices. One that turns non-finite stops alone.

    Args:
        source: what is trained.
        members: e.g. of ``kd.members(problem, seed=range(16))``.
        network, stages, imitate, terms: as ``train_teacher`` and ``distill``, for all.
        chunk: how many members a device holds in its working memory at a time; default 1 on a CPU, 64 elsewhere.
        devices: default all of all processes: after ``jax.distributed.initialize()`` every process calls this with the
            same arguments and gets the same models.
        key: the random key of a seed.
        time_budget: wall seconds for all, shared out by the groups' members.
        progress, checkpoint: as ``fit``. A group has a folder of its own within the checkpoint's.

    Returns:
        The models, in the order of the members. The seconds in their reports are those of their whole group.

    Raises:
        ValueError: no members, a chunk below one, unknown names; TrainingInterrupted, CheckpointError, RuntimeError: as
            ``train_teacher``.
    """
    if not members:
        raise ValueError("sweep: members is empty; give at least one, e.g. kd.members(problem, seed=range(16))")
    if chunk is not None and chunk < 1:
        raise ValueError(f"sweep: chunk={chunk} must be at least 1")
    mesh = over(jax.devices() if devices is None else devices)
    chunk = chunk or (1 if mesh.devices.flat[0].platform == "cpu" else CHUNK)
    groups: dict[Any, list[tuple[int, tuple[Part, ...]]]] = {}
    for i, member in enumerate(members):
        plan = _plan(source, member, network, imitate, stages, terms)
        check(plan[-1].stages, time_budget)
        groups.setdefault((_shape(plan), member.start is None), []).append((i, plan))
    models: dict[int, Model] = {}
    for number, group in enumerate(groups.values()):
        folder = checkpoint and replace(checkpoint, folder=Path(checkpoint.folder) / f"group-{number}")
        share = (time_budget or math.inf) * len(group) / len(members)
        keys = [key(members[i].seed) for i, _ in group]
        starts = [members[i].start for i, _ in group]
        trained = _train_group([plan for _, plan in group], keys, starts, mesh, chunk, share, progress, folder)
        models |= {i: model for (i, _), model in zip(group, trained, strict=True)}
    return tuple(models[i] for i in range(len(members)))


def _plan(
    source: Problem | Model,
    member: Member,
    network: MLP | None,
    imitate: Sequence[Stage],
    stages: Sequence[Stage],
    terms: Mapping[str, Term] | None,
) -> tuple[Part, ...]:
    """What the member's own training would do."""
    network, stages = member.network or network, member.stages or stages
    if isinstance(source, Model):
        return plan_student(source, network, imitate, stages, member.weights, member.coefficients, terms)
    return plan_teacher(source, network, stages, member.weights, member.coefficients, terms)


def _shape(plan: Sequence[Part]) -> Any:
    """What members of one program have in common."""
    return tuple((p.objective.network, tuple(sorted(p.objective.terms)), jax.tree.structure(p.stages)) for p in plan)


def _train_group(
    plans: Sequence[Sequence[Part]],
    keys: Sequence[Array],
    starts: Sequence[Params | None],
    mesh: Mesh,
    chunk: int,
    budget: float,
    progress: bool | None,
    checkpoint: Checkpoint | None,
) -> list[Model]:
    """The models of members that differ in numbers alone."""
    count = len(plans)
    idle = -count % mesh.size  # a device more than members left trains the last one once more
    plans, keys = [*plans, *[plans[-1]] * idle], [*keys, *[keys[-1]] * idle]
    starts = [*starts, *[starts[-1]] * idle]
    split = jax.vmap(jax.random.split)(jnp.stack(keys))
    its_keys = [
        jnp.stack(of) for of in zip(*(part_keys(p, k) for p, k in zip(plans, split[:, 1], strict=True)), strict=True)
    ]
    chunk = min(chunk, len(plans) // mesh.size)
    parts = [_batched(of, mesh, chunk) for of in zip(*plans, strict=True)]
    phases = [
        Phase(batch, stages, key, until * budget) for (batch, stages, until), key in zip(parts, its_keys, strict=True)
    ]
    numbers = [(replace(p.objective, **p.numbers._asdict()), stages, None) for p, stages, _ in parts]
    identified = lambda: identity(numbers, jnp.stack(keys)) | {"initial parameters": digest(starts)}
    with opened(checkpoint, identified) as journal:
        watch = Watch(journal, progress, budget if math.isfinite(budget) else None)
        batch = parts[-1][0]
        begun = starts[0] is not None
        params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts) if begun else batch.init(split[:, 0])
        fitted = run_phases(params, phases, watch)
    fitted = jax.tree.map(np.asarray, fitted)
    return [_member(plan[-1], fitted, i) for i, plan in enumerate(plans[:count])]


def _batched(parts: Sequence[Part], mesh: Mesh, chunk: int) -> tuple[Batch, tuple[Stage, ...], float]:
    """One part of all members: their numbers stacked, what is common taken from the first."""
    first = parts[0]
    stacked = lambda *numbers: jnp.stack([jnp.asarray(number, jnp.zeros(()).dtype) for number in numbers])
    weights, coefficients = (
        jax.tree.map(stacked, *(getattr(part.objective, name) for part in parts))
        for name in ("weights", "coefficients")
    )
    stages = jax.tree.map(stacked, *(part.stages for part in parts))
    return Batch(first.objective, Numbers(weights, coefficients), mesh, chunk), stages, first.until


def _member(part: Part, fitted: Fit, i: int) -> Model:
    """One member as the ordinary model it is; a stage that it never began is not in its training."""
    of, training = part.objective, []
    for report in fitted.stages:
        if not (training and training[-1].ending == Ending.NON_FINITE and report.steps[i] == 0):
            training.append(_report(report, i))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), fitted.params)
    return Model(of.problem, of.network, params, of.coefficients, tuple(training))


def _report(report: StageReport, i: int) -> StageReport:
    """A member's own report, its records up to its own end."""
    steps = int(report.steps[i])
    count = int(np.searchsorted(report.record_steps[i], steps)) + 1
    return replace(
        report,
        steps=steps,
        ending=int(report.ending[i]),
        record_steps=report.record_steps[i][:count],
        record_seconds=np.asarray(report.record_seconds)[:count],
        history={name: values[i][:count] for name, values in report.history.items()},
        fresh_loss=float(np.broadcast_to(report.fresh_loss, len(report.steps))[i]),
    )
