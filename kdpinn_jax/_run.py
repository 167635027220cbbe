"""What ``kdpinn run`` does: teacher, student, their errors and latency, and the files that record it."""

import csv
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from ._distill import distill, train_teacher
from ._files import atomic, library_versions, save
from ._metrics import Metrics, evaluate
from ._model import Model
from ._network import MLP
from ._predict import compile_predict
from ._problem import Problem, with_conditions
from ._recipes import recipe
from ._report import StageReport, TrainingInterrupted


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


def train_by(problem: Problem, options: Options, layers: tuple[int, ...] | None = None) -> Model:
    """The teacher of these options."""
    chosen = recipe(problem, options.recipe, options.preset)
    problem = with_conditions(problem, options.conditions or chosen.conditions)  # type: ignore[arg-type]
    return train_teacher(
        problem,
        jax.random.split(jax.random.key(options.seed))[0],
        network=_network(problem.teacher, layers, options.activation),
        stages=chosen.teacher,
        weights={name: value for name, value in options.weights.items() if name != "soft_target"},
        coefficients=options.coefficients,
        time_budget=options.time_budget or chosen.teacher_seconds,
        progress=options.progress,
        track_error=True,
    )


def distill_by(teacher: Model, options: Options) -> Model:
    """The student of these options; problem, conditions and coefficients are the teacher's."""
    chosen = recipe(teacher.problem, options.recipe, options.preset)
    return distill(
        teacher,
        jax.random.split(jax.random.key(options.seed))[1],
        network=_network(teacher.problem.student, options.layers, options.activation),
        stages=chosen.student,
        weights=dict(chosen.weights) | dict(options.weights),
        coefficients=options.coefficients,
        time_budget=options.time_budget or chosen.student_seconds,
        progress=options.progress,
        track_error=True,
    )


def _network(default: MLP, layers: tuple[int, ...] | None, activation: str | None) -> MLP:
    return MLP(layers or default.hidden, activation or default.activation)


def run(problem: Problem, out: Path, options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Train a teacher, distil a student, measure both, and write it all into ``out``; returns result.json's content.

    Each file is written whole or not at all, the models as soon as they are trained and result.json last. Ctrl-C keeps
    the model being trained, with ``"interrupted": true`` in result.json, and raises ``TrainingInterrupted``.
    """
    from . import plots  # matplotlib takes half a second to import, and only this function needs it
    from ._latency import measure

    chosen = recipe(problem, options.recipe, options.preset)
    share = chosen.teacher_seconds / (chosen.teacher_seconds + chosen.student_seconds)
    for_teacher = for_student = options
    if options.time_budget:  # shared out as the recipe does
        for_teacher = replace(options, time_budget=share * options.time_budget)
        for_student = replace(options, time_budget=(1 - share) * options.time_budget)
    models: dict[str, Model] = {}
    measured: dict[str, tuple[Metrics, Metrics]] = {}

    def keep(role: str, model: Model) -> None:
        models[role] = model
        measured[role] = evaluate(model), evaluate(model, predict=compile_predict(model))
        save(model, out / f"{role}.safetensors", metrics=measured[role][0])

    try:
        say(f"{problem.name}: training the teacher")
        keep("teacher", train_by(problem, for_teacher, options.teacher_layers))
        say(f"{problem.name}: distilling the student")
        keep("student", distill_by(models["teacher"], for_student))
    except TrainingInterrupted as interrupted:
        if interrupted.model is not None:
            keep("student" if models else "teacher", interrupted.model)
            _write_history(models, out / "history.csv")
            _write_json(_result(problem, options, models, measured, {}, interrupted=True), out / "result.json")
        raise
    _write_history(models, out / "history.csv")
    say(f"{problem.name}: drawing and timing")
    plots.solution(models, out / "solution.png", metrics={role: exact for role, (exact, _) in measured.items()})
    plots.history({role: model.training for role, model in models.items()}, out / "history.png")
    latency = measure([out / f"{role}.safetensors" for role in models])
    result = _result(problem, options, models, measured, latency, interrupted=False)
    _write_json(result, out / "result.json")
    return result


def _result(
    problem: Problem,
    options: Options,
    models: Mapping[str, Model],
    measured: Mapping[str, tuple[Metrics, Metrics]],
    latency: Mapping[str, Any],
    *,
    interrupted: bool,
) -> dict[str, Any]:
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
        "weights": dict(options.weights),
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
                "latency": per_model.get(role),
            }
            for role, model in models.items()
        },
    }


def _stage(report: StageReport) -> dict[str, Any]:
    return {
        "stage": report.stage,
        "planned": report.planned,
        "steps": int(report.steps),
        "ended": report.why(),
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


def _write_json(content: Mapping[str, Any], path: Path) -> None:
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


def _write_history(models: Mapping[str, Model], path: Path) -> None:
    """One row a record: role, stage, step and seconds within the stage, loss, every unweighted term, relative L2."""
    rows: list[dict[str, Any]] = []
    for role, model in models.items():
        for report in model.training:
            for i, step in enumerate(report.record_steps):
                numbers = {name: float(values[i]) for name, values in report.history.items()}
                seconds = float(report.record_seconds[i])
                rows.append({"role": role, "stage": report.stage, "step": int(step), "seconds": seconds, **numbers})
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["role", "stage", "step", "seconds", "loss"]
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
