"""``kdpinn run``: a teacher, a student, their errors and latency, and the files that record them."""

import contextlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from ..base.lock import only_writer
from ..base.problem_file import ProblemFile
from ..base.storage import write_json
from ..evaluation import plots
from ..evaluation.evaluate import evaluate
from ..models.diagnose import diagnose
from ..models.files import save
from ..models.history import write_history
from ..models.metrics import Metrics
from ..models.model import Model
from ..models.report import TrainingInterrupted
from ..pde.networks import MLP
from ..pde.problem import Problem
from ..problems.load import is_shipped
from ..serving.predict import compile_predict
from ..training.checkpoint import Checkpoint
from ..training.distill import distill, train_teacher
from ..training.plan import open_ended
from ..training.recipes import Recipe, recipe
from ..training.stages import Stage
from .bench import prepared_latency
from .options import Options
from .result import run_result

#: Shows one line to the user.
Say = Callable[[str], None]
#: The name of the subfolder for checkpoints.
CHECKPOINTS = "checkpoint"
#: The files that a run writes after its teacher. result.json, which marks a complete run, is the first to be deleted.
_AFTER_TEACHER = ("result.json", "history.csv", "solution.png", "history.png", "student.safetensors")


def train_with(
    problem: Problem, options: Options, layers: tuple[int, ...] | None = None, checkpoint: Checkpoint | None = None
) -> Model:
    """Train the teacher that these options describe."""
    chosen, problem = recipe(problem, options.recipe, options.preset), options.applied_to(problem)
    return train_teacher(
        problem,
        jax.random.split(jax.random.key(options.seed))[0],
        network=network_with(problem.teacher, layers, options.activation),
        stages=stages_with(options, chosen.teacher),
        weights={name: value for name, value in options.weights.items() if name != "soft_target"},
        coefficients=options.coefficients,
        time_budget=options.time_budget or chosen.teacher_seconds,
        progress=options.progress,
        track_error=True,
        checkpoint=checkpoint,
    )


def distill_with(teacher: Model, options: Options, checkpoint: Checkpoint | None = None) -> Model:
    """Distil the student that these options describe; problem, conditions and coefficients are the teacher's."""
    network = network_with(teacher.problem.student, options.layers, options.activation)
    chosen = recipe(teacher.problem, options.recipe, options.preset, network=network)
    return distill(
        teacher,
        jax.random.split(jax.random.key(options.seed))[1],
        network=network,
        imitate=imitation(teacher, chosen),
        stages=stages_with(options, chosen.student),
        weights=dict(chosen.weights) | dict(options.weights),
        coefficients=options.coefficients,
        time_budget=options.time_budget or chosen.student_seconds,
        progress=options.progress,
        track_error=True,
        checkpoint=checkpoint,
    )


def imitation(teacher: Model, chosen: Recipe) -> tuple[Stage, ...]:
    """The recipe's stages of imitation; none if the teacher is untrained or its training gave a warning.

    A student that imitates a wrong teacher would have to unlearn its errors.
    """
    return chosen.imitate if is_trained(teacher) and not diagnose(teacher.training) else ()


def stages_with(options: Options, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The recipe's stages; with a time budget of the user's, their last one is not limited to the recipe's steps."""
    return open_ended(stages) if options.time_budget else stages


def network_with(default: MLP, layers: tuple[int, ...] | None, activation: str | None) -> MLP:
    """The default network, with other hidden widths or another activation if they are given."""
    return MLP(layers or default.hidden, activation or default.activation)


def checkpoint_in(folder: Path, options: Options) -> Checkpoint:
    """The checkpoint that these options describe."""
    return Checkpoint(folder, options.checkpoint_every, options.resume)


def is_trained(model: Model | None) -> bool:
    """Whether a model took at least one step; the model of an interrupted training may have taken none."""
    return model is not None and any(int(report.steps) for report in model.training)


def run(
    problem: Problem, out: Path, options: Options, *, say: Say, source: ProblemFile | None = None
) -> dict[str, Any]:
    """Train a teacher, distil a student, evaluate and time both, and write the results to ``out``.

    Every file is written atomically: the models as soon as they are trained, result.json last. Files of an earlier run
    are deleted when the new teacher is written, so that a folder never mixes two runs. Ctrl-C saves the model that is
    being trained, sets ``"interrupted": true`` in result.json, and raises ``KeyboardInterrupt`` with an explanation.
    Checkpoints stay in ``out`` until the run is complete. Only one process at a time can run in a folder.
    A RuntimeWarning states that a stage failed, what is suspicious about a training, or that latency could not be
    measured.

    Args:
        problem: the problem to solve.
        out: the output folder; created if necessary.
        options: the options of the run.
        say: receives one line per event.
        source: the file of a problem that is not shipped, which the process that measures latency executes.

    Returns:
        The content of result.json.

    Raises:
        RuntimeError: another run is writing into ``out``.
        CheckpointError: ``options.resume`` is set, and the checkpoint cannot be resumed.
    """
    with only_writer(out):
        return _run(problem, out, options, say, source)


def _run(problem: Problem, out: Path, options: Options, say: Say, source: ProblemFile | None) -> dict[str, Any]:
    teacher_options, student_options = _split_time_budget(options, recipe(problem, options.recipe, options.preset))
    models: dict[str, Model] = {}
    metrics: dict[str, tuple[Metrics, Metrics]] = {}

    def save_and_evaluate(role: str, model: Model) -> None:
        if role == "teacher":
            for name in _AFTER_TEACHER:
                (out / name).unlink(missing_ok=True)
        path = out / f"{role}.safetensors"
        save(model, path)  # before its evaluation, which Ctrl-C could end
        models[role] = model
        metrics[role] = evaluate(model), evaluate(model, predict=compile_predict(model))
        save(model, path, metrics=metrics[role][0])
        for report in model.training:
            (_warn if report.failed else say)(f"{role}, {report.stage}: {report.why()}")
        for warning in diagnose(model.training):
            _warn(f"{role}: {warning}")

    checkpoints = {role: checkpoint_in(out / CHECKPOINTS / role, options) for role in ("teacher", "student")}
    try:
        say(f"{problem.name}: training the teacher")
        teacher = train_with(problem, teacher_options, options.teacher_layers, checkpoints["teacher"])
        save_and_evaluate("teacher", teacher)
        say(f"{problem.name}: distilling the student")
        save_and_evaluate("student", distill_with(teacher, student_options, checkpoints["student"]))
    except TrainingInterrupted as interrupted:
        if is_trained(interrupted.model):
            save_and_evaluate("student" if models else "teacher", interrupted.model)
        if models:
            write_history({role: model.training for role, model in models.items()}, out / "history.csv")
            write_json(run_result(problem, options, models, metrics, {}, interrupted=True), out / "result.json")
        raise KeyboardInterrupt(why_interrupted(interrupted, [f"{role}.safetensors" for role in models], out)) from None
    trainings = {role: model.training for role, model in models.items()}
    write_history(trainings, out / "history.csv")
    say(f"{problem.name}: drawing figures and measuring latency")
    with _latency(problem, [out / f"{role}.safetensors" for role in models], source) as measure_latency:
        plots.solution(models, out / "solution.png", metrics={role: own for role, (own, _) in metrics.items()})
        plots.history(trainings, out / "history.png")
        latency = measure_latency()
    result = run_result(problem, options, models, metrics, latency, interrupted=False)
    write_json(result, out / "result.json")
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return result


def _split_time_budget(options: Options, chosen: Recipe) -> tuple[Options, Options]:
    """The options of the teacher and of the student, with the time budget split in the recipe's proportion."""
    if not options.time_budget:
        return options, options
    share = chosen.teacher_seconds / (chosen.teacher_seconds + chosen.student_seconds)
    return (
        replace(options, time_budget=share * options.time_budget),
        replace(options, time_budget=(1 - share) * options.time_budget),
    )


def why_interrupted(interrupted: TrainingInterrupted, saved: Sequence[str], folder: Path) -> str:
    """One line that states where Ctrl-C stopped the training, and which files are saved."""
    position = where_interrupted(interrupted)
    if not saved:
        return f"{position}; no step was completed, so nothing is saved"
    return f"{position}; saved in {folder}: {', '.join(saved)}; --resume continues the training"


def where_interrupted(interrupted: TrainingInterrupted) -> str:
    """A phrase that states where Ctrl-C stopped the training."""
    message = str(interrupted)
    return message if message.startswith("interrupted") else f"interrupted; the last stage {message}"


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


@contextlib.contextmanager
def _latency(
    problem: Problem, paths: Sequence[Path], source: ProblemFile | None
) -> Iterator[Callable[[], dict[str, Any]]]:
    """``prepared_latency``, but with an empty result if latency cannot be measured."""
    if source is None and not is_shipped(problem):  # the measuring process could not load it
        yield dict
        return
    with prepared_latency(paths, [source] if source else []) as measure_latency:

        def latency_or_warning() -> dict[str, Any]:
            try:
                return measure_latency()
            except (RuntimeError, OSError, ValueError) as error:  # a long training must not be lost for its timing
                _warn(f"{error}; latency is null in result.json")
                return {}

        yield latency_or_warning
