"""``result.json``: what a run was asked, what came of it, and on what machine."""

import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..evaluation.evaluate import Metrics
from ..models.model import Model
from ..training.objective import objective
from ..pde.problem import Problem, with_conditions
from ..training.recipes import recipe
from ..models.report import StageReport, warnings
from ..base.storage import atomic, library_versions


@dataclass(frozen=True)
class Options:
    """What the caller of ``run``, ``train`` or ``distill`` chose; None leaves the problem's or the recipe's choice."""

    seed: int = 0
    preset: str = "default"
    recipe: str = "default"
    conditions: str | None = None
    layers: tuple[int, ...] | None = None
    teacher_layers: tuple[int, ...] | None = None
    activation: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    coefficients: Mapping[str, float] = field(default_factory=dict)
    time_budget: float | None = None
    progress: bool | None = None
    resume: bool = False
    checkpoint_every: float = 30.0

    def applied_to(self, problem: Problem) -> Problem:
        """The problem with the conditions chosen, or with the recipe's."""
        chosen = recipe(problem, self.recipe, self.preset)
        return with_conditions(problem, self.conditions or chosen.conditions)  # pyright: ignore[reportArgumentType]


def result_of(
    problem: Problem,
    options: Options,
    models: Mapping[str, Model],
    measured: Mapping[str, tuple[Metrics, Metrics]],
    latency: Mapping[str, Any],
    *,
    interrupted: bool,
) -> dict[str, Any]:
    """The content of result.json, for the models there are: each with its (exact, float32) errors in ``measured``."""
    timings = dict(latency)
    per_model = timings.pop("models", {})
    one = next(iter(models.values()))
    return {
        "problem": problem.name,
        "seed": options.seed,
        "preset": options.preset,
        "recipe": options.recipe,
        "conditions": one.problem.conditions,
        "coefficients": {name: float(value) for name, value in one.coefficients.items()},
        "ranges": {name: ends for name, *ends in _bounds(one.problem) if name in one.problem.family},
        "weights": _weights(one, options),
        "interrupted": interrupted,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": library_versions() | {"python": platform.python_version()},
        "machine": {
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "platform": platform.platform(),
        },
        "latency_conditions": timings,
        **{
            role: {
                "layers": model.layers,
                "activation": model.network.activation,
                "parameters": model.parameters,
                **measured[role][0].as_dict(),
                "float32": measured[role][1].as_dict()["fields"],
                "seconds_compiling": sum(float(report.seconds_compiling) for report in model.training),
                "seconds_training": sum(float(report.seconds) for report in model.training),
                "stages": [_stage(report) for report in model.training],
                "warnings": warnings(model.training),
                "latency": per_model.get(role),
            }
            for role, model in models.items()
        },
    }


def _bounds(problem: Problem) -> list[tuple[str, float, float]]:
    return list(zip(problem.axes, problem.lower, problem.upper, strict=True))


def _weights(model: Model, options: Options) -> dict[str, Any]:
    """The weights in force; a student has soft_target beside the teacher's."""
    given = {name: value for name, value in options.weights.items() if name != "soft_target"}
    chosen = recipe(model.problem, options.recipe, options.preset)
    student = {"soft_target": 0.0} | dict(chosen.weights) | dict(options.weights)
    return dict(objective(model.problem, model.network, weights=given).weights) | student


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


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write strict JSON, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(as_json(content) + "\n")


def as_json(content: Any) -> str:
    """Strict JSON: a number that is not finite becomes null."""

    def strict(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): strict(item) for name, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [strict(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(content), indent=2, allow_nan=False)
