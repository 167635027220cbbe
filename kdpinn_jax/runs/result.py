"""``result.json``: the options of a run, its results, and the machine it ran on."""

import time
from collections.abc import Mapping
from typing import Any

from ..base.machine import describe_machine
from ..models.diagnose import diagnose
from ..models.metrics import Metrics
from ..models.model import Model
from ..models.report import StageReport
from ..pde.problem import Problem
from ..training.objective import objective
from ..training.recipes import recipe
from .options import Options


def run_result(
    problem: Problem,
    options: Options,
    models: Mapping[str, Model],
    metrics: Mapping[str, tuple[Metrics, Metrics]],
    latency: Mapping[str, Any],
    *,
    interrupted: bool,
) -> dict[str, Any]:
    """The content of result.json.

    Args:
        problem: the problem that was solved.
        options: the options of the run.
        models: ``{role: model}`` for the models that were trained.
        metrics: ``{role: (metrics in the model's own precision, metrics as served in float32)}``.
        latency: the result of ``prepared_latency``; empty if latency was not measured.
        interrupted: whether Ctrl-C ended the run.
    """
    conditions = dict(latency)
    latency_by_model = conditions.pop("models", {})
    model = next(iter(models.values()))
    machine = describe_machine()
    return {
        "problem": problem.name,
        "seed": options.seed,
        "preset": options.preset,
        "recipe": options.recipe,
        "conditions": model.problem.conditions,
        "coefficients": {name: float(value) for name, value in model.coefficients.items()},
        "ranges": _ranges(model.problem),
        "weights": _weights(model, options),
        "interrupted": interrupted,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": machine["versions"] | {"python": machine["python"]},
        "machine": {name: machine[name] for name in ("cpu", "cores", "platform")},
        "latency_conditions": conditions,
        **{role: _model(model, *metrics[role], latency_by_model.get(role)) for role, model in models.items()},
    }


def _model(model: Model, metrics: Metrics, float32: Metrics, latency: Any) -> dict[str, Any]:
    return {
        "layers": model.layers,
        "activation": model.network.activation,
        "parameters": model.parameters,
        **metrics.as_dict(),
        "float32": float32.as_dict()["fields"],
        "seconds_compiling": sum(float(report.seconds_compiling) for report in model.training),
        "seconds_training": sum(float(report.seconds) for report in model.training),
        "stages": [_stage(report) for report in model.training],
        "warnings": diagnose(model.training),
        "latency": latency,
    }


def _ranges(problem: Problem) -> dict[str, list[float]]:
    """The range of each coefficient of a parametric family."""
    bounds = zip(problem.axes, problem.lower, problem.upper, strict=True)
    return {name: [low, high] for name, low, high in bounds if name in problem.family}


def _weights(model: Model, options: Options) -> dict[str, Any]:
    """The loss weights that were used; ``soft_target`` is that of the student."""
    teacher_weights = {name: value for name, value in options.weights.items() if name != "soft_target"}
    recipe_weights = recipe(model.problem, options.recipe, options.preset).weights
    student_weights = {"soft_target": 0.0} | dict(recipe_weights) | dict(options.weights)
    return dict(objective(model.problem, model.network, weights=teacher_weights).weights) | student_weights


def _stage(report: StageReport) -> dict[str, Any]:
    return {
        "stage": report.stage,
        "planned": report.planned,
        "steps": int(report.steps),
        "ended": report.why(),
        "fresh_loss": float(report.fresh_loss),
        "seconds_compiling": float(report.seconds_compiling),
        "seconds": float(report.seconds),
    }
