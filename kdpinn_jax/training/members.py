"""The members of a sweep from the values that vary, and a table of their results."""

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
from .plan import STAGES
from .stages import Stage
from .sweep import Member

#: The names that every sweep can vary, besides coefficients, weights and the numbers of the stages.
COMMON = ("seed", "layers", "activation")


def members(
    source: Problem | Model,
    *,
    network: MLP | None = None,
    stages: Sequence[Stage] = STAGES,
    **varied: Sequence[Any],
) -> list[Member]:
    """Every combination of the varied values.

        members(burgers, seed=range(4), nu=(0.01, 0.02), layers=((20, 20), (10, 10, 10)))

    Args:
        source: the problem, or the teacher if the members are students.
        network: the sweep's network, if ``layers`` or ``activation`` are varied; default as in ``sweep``.
        stages: the sweep's stages, if their numbers are varied.
        varied: values by name: ``seed``, ``layers`` (hidden widths), ``activation``, a coefficient of the problem, the
            weight of a term (``initial``, for students ``soft_target``), or a number of the stages (``learning_rate``,
            ``damping``; in every stage that has it).

    Returns:
        The members. The last name varies fastest.

    Raises:
        ValueError: a name is unknown or has no values.
    """
    problem = source.problem if isinstance(source, Model) else source
    network = network or (problem.student if isinstance(source, Model) else problem.teacher)
    known = known_names(source, stages)
    for name, values in varied.items():
        if name not in known:
            raise ValueError(f"members: {name!r} cannot be varied{nearest(name, known)}")
        if not len(values):
            raise ValueError(f"members: {name} has no values; give at least one")
    return [
        _member(dict(zip(varied, combination, strict=True)), known, network, tuple(stages))
        for combination in itertools.product(*varied.values())
    ]


def known_names(source: Problem | Model, stages: Sequence[Stage]) -> dict[str, str]:
    """The names that can be varied, with their kinds: ``"common"``, ``"coefficient"``, ``"weight"`` or ``"stage"``.

    Args:
        source: the problem, or the teacher if the members are students.
        stages: the stages of the sweep.
    """
    problem = source.problem if isinstance(source, Model) else source
    numbers = {name for stage in stages if is_dataclass(stage) for name in _numbers(stage)}
    terms = [name for name in problem.terms if name not in problem.enforced]
    terms += ["soft_target"] if isinstance(source, Model) else []
    known = dict.fromkeys(sorted(numbers), "stage") | dict.fromkeys(terms, "weight")
    return known | dict.fromkeys(problem.coefficients, "coefficient") | dict.fromkeys(COMMON, "common")


def _numbers(stage: Stage) -> list[str]:
    """The dynamic attributes of a stage, in which the members of one program may differ."""
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(stage))
    return [path[0].name for path in paths if isinstance(path[0], jax.tree_util.GetAttrKey)]


def _member(values: Mapping[str, Any], known: Mapping[str, str], network: MLP, stages: tuple[Stage, ...]) -> Member:
    """The member with these values, given the kind of every known name."""

    def numbers(kind: str) -> dict[str, float]:
        return {name: float(value) for name, value in values.items() if known[name] == kind}

    for name, number in numbers("stage").items():
        stages = tuple(replace(stage, **{name: number}) if hasattr(stage, name) else stage for stage in stages)  # pyright: ignore
    varied_network = MLP(tuple(values.get("layers", network.hidden)), values.get("activation", network.activation))
    return Member(
        seed=int(values.get("seed", 0)),
        network=varied_network if {"layers", "activation"} & set(values) else None,
        stages=stages if numbers("stage") else None,
        coefficients=numbers("coefficient"),
        weights=numbers("weight"),
        varied=dict(values),
    )


def sweep_table(members: Sequence[Member], models: Sequence[Model], metrics: Sequence[Metrics]) -> list[dict[str, Any]]:
    """One row per member of a sweep.

    Args:
        members: the members.
        models: their models, as ``sweep`` returns them.
        metrics: their errors, as ``evaluate`` returns them.

    Returns:
        Rows with the member's number, its varied values, its network, its errors if there is a reference, the loss at
        the training points and at fresh ones, the number of steps, and why the training ended.
    """
    rows = []
    for i, (member, model, model_metrics) in enumerate(zip(members, models, metrics, strict=True)):
        trained = [report for report in model.training if len(report.record_steps)]
        loss = float(trained[-1].history["loss"][-1]) if trained else np.nan
        errors = model_metrics.errors[model_metrics.quantity]._asdict() if model_metrics.errors else {}
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
    """The members' numbers from best to worst.

    They are sorted by relative L2 error, or without a reference by the loss at fresh points. Non-finite values come
    last.

    Args:
        rows: a table of ``sweep_table``.
    """
    by = "relative_l2" if rows and "relative_l2" in rows[0] else "fresh_loss"
    return sorted(range(len(rows)), key=lambda i: (not np.isfinite(rows[i][by]), rows[i][by]))
