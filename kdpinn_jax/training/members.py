"""The members of a sweep from what is varied, and the sweep_table of what came of them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any

import jax
import numpy as np

from ..base.names import nearest
from ..models.metrics import Metrics
from ..models.model import Model
from ..pde.networks import MLP
from ..pde.problem import Problem
from .distill import STAGES
from .stages import Stage
from .sweep import Member

#: What can be varied of every training; coefficients, weights and the stages' numbers come to it.
COMMON = ("seed", "layers", "activation")


def members(
    source: Problem | Model,
    *,
    network: MLP | None = None,
    stages: Sequence[Stage] = STAGES,
    **varied: Sequence[Any],
) -> list[Member]:
    """Every combination of what is varied, the last name fastest.

        members(burgers, seed=range(4), nu=(0.01, 0.02), layers=((20, 20), (10, 10, 10)))

    Args:
        source: the problem, or the teacher of students.
        network, stages: those of the sweep, where their layers, activation or numbers are varied.
        varied: values by name: ``seed``, ``layers`` (hidden widths), ``activation``, a coefficient of the problem, the
            weight of a term (``initial``, for students ``soft_target``), or a number of the stages
            (``learning_rate``, ``damping``; in every stage that has it).

    Raises:
        ValueError: an unknown name, or one without values.
    """
    problem = source.problem if isinstance(source, Model) else source
    network = network or (problem.student if isinstance(source, Model) else problem.teacher)
    known = known_names(source, stages)
    for name, values in varied.items():
        if name not in known:
            raise ValueError(f"members: {name!r} cannot be varied{nearest(name, known)}")
        if not len(values):
            raise ValueError(f"members: {name} has no values; give at least one")
    made = []
    for combination in itertools.product(*varied.values()):
        chosen = dict(zip(varied, combination, strict=True))
        made.append(_member(chosen, known, network, tuple(stages)))
    return made


def known_names(source: Problem | Model, stages: Sequence[Stage]) -> dict[str, str]:
    """What can be varied, and what each name is: ``"common"``, ``"coefficient"``, ``"weight"`` or ``"stage"``."""
    problem = source.problem if isinstance(source, Model) else source
    numbers = {name for stage in stages if is_dataclass(stage) for name in _numbers(stage)}
    terms = [name for name in problem.terms if name not in problem.enforced]
    terms += ["soft_target"] if isinstance(source, Model) else []
    known = dict.fromkeys(sorted(numbers), "stage") | dict.fromkeys(terms, "weight")
    return known | dict.fromkeys(problem.coefficients, "coefficient") | dict.fromkeys(COMMON, "common")


def _numbers(stage: Stage) -> list[str]:
    """The leaves of its pytree, with which members of one program may differ: not its step counts."""
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(stage))
    return [path[0].name for path in paths if isinstance(path[0], jax.tree_util.GetAttrKey)]


def _member(chosen: Mapping[str, Any], known: Mapping[str, str], network: MLP, stages: tuple[Stage, ...]) -> Member:
    of = lambda kind: {name: value for name, value in chosen.items() if known[name] == kind}
    for name, value in of("stage").items():
        stages = tuple(replace(s, **{name: float(value)}) if hasattr(s, name) else s for s in stages)  # pyright: ignore
    reshaped = MLP(tuple(chosen.get("layers", network.hidden)), chosen.get("activation", network.activation))
    return Member(
        seed=int(chosen.get("seed", 0)),
        network=reshaped if {"layers", "activation"} & set(chosen) else None,
        stages=stages if of("stage") else None,
        coefficients={name: float(value) for name, value in of("coefficient").items()},
        weights={name: float(value) for name, value in of("weight").items()},
        varied=dict(chosen),
    )


def sweep_table(members: Sequence[Member], models: Sequence[Model], found: Sequence[Metrics]) -> list[dict[str, Any]]:
    """A row a member: its number, what is varied, its network, errors, losses and ending."""
    rows = []
    for i, (member, model, metrics) in enumerate(zip(members, models, found, strict=True)):
        trained = [report for report in model.training if len(report.record_steps)]
        loss = float(trained[-1].history["loss"][-1]) if trained else np.nan
        errors = metrics.errors[metrics.quantity]._asdict() if metrics.errors else {}
        rows.append(
            {
                "member": i,
                **member.varied,
                "layers": "-".join(map(str, model.layers)),
                "activation": model.network.activation,
                "parameters": model.parameters,
                **errors,
                "loss": loss,
                "fresh_loss": float(trained[-1].fresh_loss) if trained else np.nan,
                "steps": sum(int(report.steps) for report in model.training),
                "ended": model.training[-1].why(),
            }
        )
    return rows


def rank(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Members from the best to the worst: by relative L2 error, without a reference by the loss at fresh points; one
    that turned non-finite comes last."""
    by = "relative_l2" if rows and "relative_l2" in rows[0] else "fresh_loss"
    return sorted(range(len(rows)), key=lambda i: (not np.isfinite(rows[i][by]), rows[i][by]))
