"""The commands that train one teacher and its student: ``run``, ``train`` and ``distill``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..base.problem_file import ProblemFile
from . import _host as host
from . import _options as cli
from . import _tables
from . import _types as types
from ._outline import outline_of, read_outline
from ._problems import load_model, load_problem
from ._use import show_errors

if TYPE_CHECKING:
    from ..models.model import Model
    from ..runs.options import Options
    from ..training.checkpoint import Checkpoint


@click.command()
@click.argument("problem", type=types.ProblemName(), required=False)
@cli.PROBLEM
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
def run(problem: str | None, own: ProblemFile | None, out: Path, as_json: bool, **options: Any) -> None:
    """Train a teacher, distil a student, and measure both.

    \b
    kdpinn run burgers --preset quick --out runs/burgers
    kdpinn run burgers --range nu=0.005,0.05 --out runs/burgers_nu
    kdpinn run --problem mine.py:heat --out runs/heat

    Writes teacher.safetensors, student.safetensors, result.json, history.csv, solution.png and history.png, replacing
    those of an earlier run. Ctrl-C saves what has been trained; --resume continues the run, also after a crash.
    """
    pde = load_problem(problem, own, student=True, **options)
    host.make_folder(out)
    from ..runs import run as runs

    chosen = cli.make_options(**options)
    say = (lambda _: None) if options["quiet"] else host.say
    result = runs.run(pde, out, chosen, say=say, source=own)
    host.print_json(result) if as_json else click.echo(_tables.of_run(result, out))


@click.command()
@click.argument("problem", type=types.ProblemName(), required=False)
@cli.PROBLEM
@click.option("--out", type=types.FILE, required=True, help="Output file, *.safetensors.")
@cli.CONDITIONS
@cli.RANGES
@cli.training_options("teacher")
@cli.JSON
def train(
    problem: str | None,
    own: ProblemFile | None,
    out: Path,
    as_json: bool,
    layers: tuple[int, ...] | None,
    **options: Any,
) -> None:
    """Train a teacher on a PDE.

    \b
    kdpinn train black_scholes --coefficient sigma=0.3 --out teacher.safetensors
    kdpinn train black_scholes --range sigma=0.1,0.5 --range r=0,0.1 --out teacher.safetensors

    During training, the folder teacher.safetensors.checkpoint next to the output file holds the state from which
    --resume continues.
    """
    pde = load_problem(problem, own, student=False, **options)
    host.check_file(out)
    from ..runs.run import train_with

    chosen = cli.make_options(**options)
    _train_and_save(lambda checkpoint: train_with(pde, chosen, layers, checkpoint), out, chosen, as_json)


@click.command(short_help="Distil a student from a teacher.")
@click.argument("teacher", type=types.FILE)
@cli.PROBLEM
@click.option("--out", type=types.FILE, required=True, help="Output file, *.safetensors.")
@cli.training_options("student")
@cli.JSON
def distill(teacher: Path, own: ProblemFile | None, out: Path, as_json: bool, **options: Any) -> None:
    """Distil a student from a teacher. The student has the teacher's problem, conditions, coefficients and ranges.

    \b
    kdpinn distill teacher.safetensors --layers 16,16 --weight soft_target=10 --out student.safetensors
    """
    to_check = {**options, "recipe": "default"}
    if outline := read_outline(teacher):
        cli.check_names(outline, student=True, **to_check)
    host.check_file(out, teacher)
    host.set_up_jax()
    from ..runs.run import distill_with

    model = load_model(teacher, own)
    cli.check_names(outline_of(model.problem), student=True, **to_check)
    chosen = cli.make_options(conditions=model.problem.conditions, **options)
    _train_and_save(lambda checkpoint: distill_with(model, chosen, checkpoint), out, chosen, as_json)


def _train_and_save(train: "Callable[[Checkpoint], Model]", out: Path, options: "Options", as_json: bool) -> None:
    """Train one model, save it, and print its errors. Ctrl-C saves the model as trained so far."""
    from ..evaluation.evaluate import evaluate
    from ..models.diagnose import diagnose
    from ..models.files import save
    from ..models.report import TrainingInterrupted
    from ..runs.run import CHECKPOINTS, checkpoint_in, is_trained, why_interrupted

    checkpoint = checkpoint_in(out.with_name(f"{out.name}.{CHECKPOINTS}"), options)
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
        host.warn(warning)
    show_errors(model, {"": metrics}, as_json)
