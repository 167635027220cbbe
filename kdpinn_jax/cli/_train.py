"""The commands that train one teacher and its student: ``run``, ``train`` and ``distill``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _host as host
from . import _options as cli
from . import _tables
from . import _types as types
from ._use import show_errors

if TYPE_CHECKING:
    from ..models.model import Model
    from ..pde.problem import Problem
    from ..runs.result import Options
    from ..training.checkpoint import Checkpoint

Ranges = tuple[tuple[str, tuple[float, float]], ...]


@click.command()
@click.argument("problem", type=types.PROBLEM)
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Folder of the results; made if need be.")
@click.option("--teacher-layers", type=types.Layers(), help="Hidden widths of the teacher.")
@cli.CONDITIONS
@cli.RANGES
@cli.training_options
@cli.JSON
def run(problem: "Problem", out: Path, as_json: bool, ranges: Ranges, **options: Any) -> None:
    """Train a teacher, distil a student, measure both.

    \b
    kdpinn run burgers --preset quick --out runs/burgers
    kdpinn run burgers --range nu=0.005,0.05 --out runs/burgers_nu

    Writes teacher.safetensors, student.safetensors, result.json, history.csv, solution.png and history.png, in place of
    those of an earlier run. Ctrl-C keeps what there is, and --resume goes on from there, also after a crash.
    """
    from ..runs import run as _run

    problem = cli.of_family(problem, ranges)
    chosen = cli.collected(problem, student=True, **options)
    host.make_folder(out)
    host.set_up_jax()
    result = _run.run(problem, out, chosen, say=(lambda _: None) if options["quiet"] else host.say, warn=host.say)
    host.print_json(result) if as_json else click.echo(_tables.of_run(result, out))


@click.command()
@click.argument("problem", type=types.PROBLEM)
@click.option("--out", type=types.FILE, required=True, help="The model's file, *.safetensors.")
@cli.CONDITIONS
@cli.RANGES
@cli.training_options
@cli.JSON
def train(
    problem: "Problem", out: Path, as_json: bool, layers: tuple[int, ...] | None, ranges: Ranges, **options: Any
) -> None:
    """Train a teacher on a PDE.

    \b
    kdpinn train black_scholes --coefficient sigma=0.3 --out teacher.safetensors
    kdpinn train black_scholes --range sigma=0.1,0.5 --range r=0,0.1 --out teacher.safetensors

    Until it ends a folder teacher.safetensors.checkpoint lies beside it, from which --resume goes on.
    """
    from ..runs import run as _run

    problem = cli.of_family(problem, ranges)
    chosen = cli.collected(problem, student=False, **options)
    host.check_file(out)
    host.set_up_jax()
    _train_and_save(lambda checkpoint: _run.train_by(problem, chosen, layers, checkpoint), out, chosen, as_json)


@click.command()
@click.argument("teacher", type=types.FILE)
@click.option("--out", type=types.FILE, required=True, help="The student's file, *.safetensors.")
@cli.training_options
@cli.JSON
def distill(teacher: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Distil a student from a teacher; problem, conditions, coefficients and ranges are the teacher's.

    \b
    kdpinn distill teacher.safetensors --layers 16,16 --weight soft_target=10 --out student.safetensors
    """
    from ..models.files import load
    from ..runs import run as _run

    host.set_up_jax()
    model = load(teacher)
    chosen = cli.collected(model.problem, student=True, conditions=model.problem.conditions, **options)
    host.check_file(out, teacher)
    _train_and_save(lambda checkpoint: _run.distill_by(model, chosen, checkpoint), out, chosen, as_json)


def _train_and_save(trained: Callable[["Checkpoint"], "Model"], out: Path, chosen: "Options", as_json: bool) -> None:
    from ..evaluation.evaluate import evaluate
    from ..models.files import save
    from ..models.report import TrainingInterrupted, warnings
    from ..runs import run as _run

    checkpoint = _run.checkpoint_in(out.with_name(f"{out.name}.{_run.CHECKPOINTS}"), chosen, host.say)
    try:
        model = trained(checkpoint)
    except TrainingInterrupted as interrupted:
        saved = _run.is_trained(interrupted.model)
        if saved:
            save(interrupted.model, out)
        raise KeyboardInterrupt(_run.why_interrupted(interrupted, [out.name] if saved else [], out.parent)) from None
    save(model, out)  # at once: what was trained does not wait for its evaluation, which Ctrl-C could end
    metrics = evaluate(model)
    save(model, out, metrics=metrics)
    checkpoint.remove()
    for report in model.training:
        host.say(f"{report.stage}: {report.why()}")
    for warning in warnings(model.training):
        host.say(f"warning: {warning}")
    show_errors(model, {"": metrics}, as_json)
