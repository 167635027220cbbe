"""The commands that train one teacher and its student: ``run``, ``train`` and ``distill``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _host as host
from . import _options as cli
from . import _tables
from . import _types as types
from ._outline import read_outline, shipped_outlines
from ._use import show_errors

if TYPE_CHECKING:
    from ..models.model import Model
    from ..runs.options import Options
    from ..training.checkpoint import Checkpoint


@click.command()
@click.argument("problem", type=types.ProblemName())
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Output folder; created if necessary.")
@click.option(
    "--teacher-layers",
    type=types.Layers(),
    help="Hidden widths of the teacher, such as 50,50,50. Default: the problem's.",
)
@cli.CONDITIONS
@cli.RANGES
@cli.training_options("student")
@cli.JSON
def run(problem: str, out: Path, as_json: bool, ranges: cli.Ranges, **options: Any) -> None:
    """Train a teacher, distil a student, and measure both.

    \b
    kdpinn run burgers --preset quick --out runs/burgers
    kdpinn run burgers --range nu=0.005,0.05 --out runs/burgers_nu

    Writes teacher.safetensors, student.safetensors, result.json, history.csv, solution.png and history.png, replacing
    those of an earlier run. Ctrl-C saves what has been trained; --resume continues the run, also after a crash.
    """
    cli.check_names(shipped_outlines()[problem], student=True, ranges=ranges, **options)
    host.make_folder(out)
    host.set_up_jax()
    from ..runs import run as runs

    chosen = cli.make_options(**options)
    say = (lambda _: None) if options["quiet"] else host.say
    result = runs.run(cli.shipped_problem(problem, ranges), out, chosen, say=say, warn=host.say)
    host.print_json(result) if as_json else click.echo(_tables.of_run(result, out))


@click.command()
@click.argument("problem", type=types.ProblemName())
@click.option("--out", type=types.FILE, required=True, help="Output file, *.safetensors.")
@cli.CONDITIONS
@cli.RANGES
@cli.training_options("teacher")
@cli.JSON
def train(
    problem: str, out: Path, as_json: bool, layers: tuple[int, ...] | None, ranges: cli.Ranges, **options: Any
) -> None:
    """Train a teacher on a PDE.

    \b
    kdpinn train black_scholes --coefficient sigma=0.3 --out teacher.safetensors
    kdpinn train black_scholes --range sigma=0.1,0.5 --range r=0,0.1 --out teacher.safetensors

    During training, the folder teacher.safetensors.checkpoint next to the output file holds the state from which
    --resume continues.
    """
    cli.check_names(shipped_outlines()[problem], student=False, ranges=ranges, **options)
    host.check_file(out)
    host.set_up_jax()
    from ..runs.run import train_with

    chosen, pde = cli.make_options(**options), cli.shipped_problem(problem, ranges)
    _train_and_save(lambda checkpoint: train_with(pde, chosen, layers, checkpoint), out, chosen, as_json)


@click.command(short_help="Distil a student from a teacher.")
@click.argument("teacher", type=types.FILE)
@click.option("--out", type=types.FILE, required=True, help="Output file, *.safetensors.")
@cli.training_options("student")
@cli.JSON
def distill(teacher: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Distil a student from a teacher. The student has the teacher's problem, conditions, coefficients and ranges.

    \b
    kdpinn distill teacher.safetensors --layers 16,16 --weight soft_target=10 --out student.safetensors
    """
    if outline := read_outline(teacher):
        cli.check_names(outline, student=True, **{**options, "recipe": "default"})
    host.check_file(out, teacher)
    host.set_up_jax()
    from ..problems.load import load
    from ..runs.run import distill_with

    model = load(teacher)
    chosen = cli.make_options(conditions=model.problem.conditions, **options)
    _train_and_save(lambda checkpoint: distill_with(model, chosen, checkpoint), out, chosen, as_json)


def _train_and_save(train: "Callable[[Checkpoint], Model]", out: Path, options: "Options", as_json: bool) -> None:
    """Train one model, save it, and print its errors. Ctrl-C saves the model as trained so far."""
    from ..evaluation.evaluate import evaluate
    from ..models.diagnose import diagnose
    from ..models.files import save
    from ..models.report import TrainingInterrupted
    from ..runs.run import CHECKPOINTS, checkpoint_in, is_trained, why_interrupted

    checkpoint = checkpoint_in(out.with_name(f"{out.name}.{CHECKPOINTS}"), options, host.say)
    try:
        model = train(checkpoint)
    except TrainingInterrupted as interrupted:
        saved = is_trained(interrupted.model)
        if saved:
            save(interrupted.model, out)
        raise KeyboardInterrupt(why_interrupted(interrupted, [out.name] if saved else [], out.parent)) from None
    save(model, out)  # before its evaluation, which Ctrl-C could end
    metrics = evaluate(model)
    save(model, out, metrics=metrics)
    checkpoint.remove()
    for report in model.training:
        host.say(f"{report.stage}: {report.why()}")
    for warning in diagnose(model.training):
        host.say(f"warning: {warning}")
    show_errors(model, {"": metrics}, as_json)
