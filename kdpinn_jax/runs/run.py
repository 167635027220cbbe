"""What ``kdpinn run`` does: teacher, student, their errors and latency, and the files that record it."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from ..training.checkpoint import Checkpoint
from ..training.distill import distill, train_teacher
from ..models.files import save
from ..models.history import write_history
from ..base.lock import only_writer
from ..evaluation.evaluate import Metrics, evaluate
from ..models.model import Model
from ..pde.networks import MLP
from ..serving.predict import compile_predict
from ..pde.problem import Problem
from ..training.recipes import Recipe, recipe
from ..models.report import TrainingInterrupted, warnings
from .result import Options, result_of, write_json
from ..training.stages import Stage


def train_by(
    problem: Problem, options: Options, layers: tuple[int, ...] | None = None, checkpoint: Checkpoint | None = None
) -> Model:
    """The teacher of these options."""
    chosen, problem = recipe(problem, options.recipe, options.preset), options.applied_to(problem)
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
        checkpoint=checkpoint,
    )


def distill_by(teacher: Model, options: Options, checkpoint: Checkpoint | None = None) -> Model:
    """The student of these options; problem, conditions and coefficients are the teacher's."""
    network = _network(teacher.problem.student, options.layers, options.activation)
    chosen = recipe(teacher.problem, options.recipe, options.preset, network=network)
    return distill(
        teacher,
        jax.random.split(jax.random.key(options.seed))[1],
        network=network,
        imitate=imitation(teacher, chosen),
        stages=chosen.student,
        weights=dict(chosen.weights) | dict(options.weights),
        coefficients=options.coefficients,
        time_budget=options.time_budget or chosen.student_seconds,
        progress=options.progress,
        track_error=True,
        checkpoint=checkpoint,
    )


def imitation(teacher: Model, chosen: Recipe) -> tuple[Stage, ...]:
    """The recipe's stages of imitation; a teacher that got nowhere, or somewhere else, would have to be unlearnt."""
    return chosen.imitate if is_trained(teacher) and not warnings(teacher.training) else ()


def _network(default: MLP, layers: tuple[int, ...] | None, activation: str | None) -> MLP:
    return MLP(layers or default.hidden, activation or default.activation)


#: The folder, beside what a run writes, of its checkpoints.
CHECKPOINTS = "checkpoint"


def checkpoint_in(folder: Path, options: Options, warn: Callable[[str], None]) -> Checkpoint:
    """The checkpoint of a training, as the caller chose."""
    return Checkpoint(folder, options.checkpoint_every, options.resume, warn)


def is_trained(model: Model | None) -> bool:
    """Whether a model, of an interrupted training perhaps, took a step at all."""
    return model is not None and any(int(report.steps) for report in model.training)


def run(
    problem: Problem, out: Path, options: Options, *, say: Callable[[str], None], warn: Callable[[str], None]
) -> dict[str, Any]:
    """Train a teacher, distil a student, measure both, and write it all into ``out``; returns result.json's content.

    Each file is written whole or not at all, the models as soon as they are trained and result.json last; files of an
    earlier run in ``out`` go when the new teacher comes, so that a folder never holds two runs. Ctrl-C keeps the model
    being trained, with ``"interrupted": true`` in result.json, and raises ``KeyboardInterrupt`` with words that say so.
    Checkpoints lie in ``out`` until the run is whole; another process that runs into ``out`` is refused.

    Raises:
        RuntimeError: another run writes into ``out``. CheckpointError: ``options.resume``, and no way to go on.
    """
    with only_writer(out):
        return _run(problem, out, options, say, warn)


def _run(
    problem: Problem, out: Path, options: Options, say: Callable[[str], None], warn: Callable[[str], None]
) -> dict[str, Any]:
    from ..evaluation import plots  # matplotlib takes half a second to import, and only this function needs it

    chosen = recipe(problem, options.recipe, options.preset)
    share = chosen.teacher_seconds / (chosen.teacher_seconds + chosen.student_seconds)
    for_teacher = for_student = options
    if options.time_budget:  # shared out as the recipe does
        for_teacher = replace(options, time_budget=share * options.time_budget)
        for_student = replace(options, time_budget=(1 - share) * options.time_budget)
    models: dict[str, Model] = {}
    measured: dict[str, tuple[Metrics, Metrics]] = {}

    def keep(role: str, model: Model) -> None:
        if role == "teacher":
            for name in _AFTER_THE_TEACHER:
                (out / name).unlink(missing_ok=True)
        path = out / f"{role}.safetensors"
        save(model, path)  # at once: what was trained does not wait for its evaluation, which Ctrl-C could end
        models[role] = model
        measured[role] = evaluate(model), evaluate(model, predict=compile_predict(model))
        save(model, path, metrics=measured[role][0])
        for report in model.training:
            (warn if report.went_wrong else say)(f"{role}, {report.stage}: {report.why()}")
        for warning in warnings(model.training):
            warn(f"warning: {role}: {warning}")
        if not is_trained(model):
            warn(f"warning: the {role} is untrained: compiling took the whole time budget; give more seconds")

    checkpoints = {role: checkpoint_in(out / CHECKPOINTS / role, options, warn) for role in ("teacher", "student")}
    try:
        say(f"{problem.name}: training the teacher")
        keep("teacher", train_by(problem, for_teacher, options.teacher_layers, checkpoints["teacher"]))
        say(f"{problem.name}: distilling the student")
        keep("student", distill_by(models["teacher"], for_student, checkpoints["student"]))
    except TrainingInterrupted as interrupted:
        if is_trained(interrupted.model):
            keep("student" if models else "teacher", interrupted.model)
        if models:
            write_history({role: model.training for role, model in models.items()}, out / "history.csv")
            write_json(result_of(problem, options, models, measured, {}, interrupted=True), out / "result.json")
        raise KeyboardInterrupt(why_interrupted(interrupted, [f"{role}.safetensors" for role in models], out)) from None
    trainings = {role: model.training for role, model in models.items()}
    write_history(trainings, out / "history.csv")
    say(f"{problem.name}: drawing and timing")
    with _latency(problem, [out / f"{role}.safetensors" for role in models], warn) as latency_measured:
        plots.solution(models, out / "solution.png", metrics={role: exact for role, (exact, _) in measured.items()})
        plots.history(trainings, out / "history.png")
        latency = latency_measured()
    result = result_of(problem, options, models, measured, latency, interrupted=False)
    write_json(result, out / "result.json")
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return result


#: What a run writes after its teacher; result.json, which says that a run is whole, goes first.
_AFTER_THE_TEACHER = ("result.json", "history.csv", "solution.png", "history.png", "student.safetensors")


def why_interrupted(interrupted: TrainingInterrupted, saved: Sequence[str], where: Path) -> str:
    """One line: where Ctrl-C met the training, and what is saved."""
    why = where_interrupted(interrupted)
    if not saved:
        return f"{why}; nothing was trained yet, so nothing is saved"
    return f"{why}; saved what there is in {where}: {', '.join(saved)}; --resume goes on"


def where_interrupted(interrupted: TrainingInterrupted) -> str:
    """Where Ctrl-C met the training."""
    why = str(interrupted)
    return why if why.startswith("interrupted") else f"interrupted; the last stage {why}"


@contextlib.contextmanager
def _latency(
    problem: Problem, paths: Sequence[Path], warn: Callable[[str], None]
) -> Iterator[Callable[[], dict[str, Any]]]:
    from ..serving.bench.latency import prepared
    from ..problems import ALL

    if problem.name not in ALL:  # a problem of the caller's own: the process that measures could not load it
        yield dict
        return
    with prepared(paths) as measured:

        def or_warning() -> dict[str, Any]:
            try:
                return measured()
            except (RuntimeError, OSError, ValueError) as error:  # a long training is not lost for its timing
                warn(f"warning: {error}; latency is null in result.json")
                return {}

        yield or_warning
