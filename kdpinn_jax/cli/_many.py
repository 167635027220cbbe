"""The commands that train many students: ``sweep`` and ``search``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..base.names import nearest
from . import _host as host
from . import _options as cli
from . import _tables
from . import _types as types
from ._outline import Outline, of_model, shipped


@click.command()
@click.argument("source", metavar="PROBLEM|TEACHER")
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Output folder; created if necessary.")
@click.option(
    "--vary",
    "varied",
    type=types.Vary(),
    multiple=True,
    required=True,
    help="Values of one quantity, such as seed=0:16, nu=0.005,0.01, layers=20x20,10x10x10 or learning_rate=1e-3,1e-2. "
    "Repeatable; every combination is a member.",
)
@click.option("--keep", type=click.IntRange(0), default=3, show_default=True, help="Number of best models to save.")
@click.option("--chunk", type=click.IntRange(1), help="Members in a device's memory at a time; default 1 on a CPU.")
@click.option("--devices", type=click.IntRange(1, 1024), help="CPU cores to use; default all.")
@click.option(
    "--distributed", is_flag=True, help="Run as one of several processes started by Slurm, Open MPI or a TPU pod."
)
@cli.CONDITIONS
@cli.training_options
@cli.JSON
def sweep(
    source: str,
    out: Path,
    varied: Sequence[tuple[str, list[Any]]],
    keep: int,
    chunk: int | None,
    devices: int | None,
    distributed: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train many members together: teachers of a problem, or students of a teacher.

    \b
    kdpinn sweep burgers --vary seed=0:4 --vary nu=0.005,0.01 --out runs/sweep
    kdpinn sweep runs/burgers/teacher.safetensors --vary seed=0:16 --out runs/students

    Writes sweep.csv, sweep.json, sweep.png and the best members as member-NNN.safetensors.
    """
    problem = shipped().get(source) if not Path(source).is_file() else None
    outline = problem or of_model(Path(source))
    if problem is None and not Path(source).exists():
        guess = nearest(source, shipped())
        raise click.BadParameter(f"{source!r} is neither a problem{guess} nor the file of a teacher")
    if outline:
        student = problem is None
        outline = cli.check_names(outline, student=student, **_of_teacher(options, outline) if student else options)
        _check_varied([name for name, _ in varied], outline, student)
    host.use_cores(devices)
    host.set_up_jax()
    if distributed:
        host.join_processes()
    from ..problems import ALL
    from ..problems.load import load
    from ..runs.run_many import members_with, run_sweep

    if problem:
        chosen = cli.make_options(**options)
        trained = chosen.applied_to(ALL[problem.name])
    else:
        trained = load(source)
        chosen = cli.make_options(**{**options, "conditions": trained.problem.conditions})
    try:
        members = members_with(trained, chosen, dict(varied))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    host.make_folder(out)
    rows = run_sweep(trained, members, out, chosen, keep=keep, chunk=chunk, say=host.say)
    if host.is_first_process():
        names = [name for name, _ in varied]
        host.print_json(rows) if as_json else click.echo(_tables.of_sweep(rows, names, out))


def _of_teacher(options: Mapping[str, Any], outline: Outline) -> dict[str, Any]:
    """The options for students, whose conditions are their teacher's."""
    conditions = "hard" if outline.enforced else "soft"
    if options["conditions"] not in (None, conditions):
        raise click.BadParameter(f"--conditions {options['conditions']}: the teacher's are {conditions}")
    return {**options, "conditions": None, "recipe": "default"}


def _check_varied(names: Sequence[str], outline: Outline, student: bool) -> None:
    known = (*outline.coefficients, *outline.weights(student), *types.STAGE_NUMBERS, "seed", "layers", "activation")
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} cannot be varied{nearest(name, known)}")


@click.command()
@click.argument("teacher", type=types.FILE)
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Output folder; created if necessary.")
@click.option("--max-error", type=types.Positive(), metavar="NUMBER", help="Largest acceptable relative L2 error.")
@click.option(
    "--max-latency", type=types.Positive(), metavar="MICROSECONDS", help="Longest acceptable call of --points points."
)
@click.option(
    "--engine",
    type=types.Word("engine", types.ENGINES),
    metavar="jit|c",
    default="jit",
    show_default=True,
    help="What is timed on one core: compile_predict or the C export.",
)
@click.option(
    "--points", type=click.IntRange(1, 10_000_000), default=10_000, show_default=True, help="Points per call."
)
@click.option(
    "--widths",
    type=types.Counts("WIDTHS", "hidden widths", "4,8,16", types.WIDEST),
    help="Hidden widths to try; default 4,6,8,12,16,20,28.",
)
@click.option(
    "--depths",
    type=types.Counts("DEPTHS", "numbers of hidden layers", "1,2,3", types.DEEPEST),
    help="Numbers of hidden layers to try; default 1,2,3.",
)
@click.option(
    "--activations",
    type=types.Words("activation", types.ACTIVATIONS),
    metavar="NAMES",
    help="Activations to try; default tanh.",
)
@click.option("--steps", type=click.IntRange(1, 10_000), help="Levenberg-Marquardt steps per turn; default 40.")
@click.option(
    "--rungs",
    type=types.Counts("TURNS", "numbers of turns", "1,2,4", 10_000),
    help="Turns that each rung adds; the better networks continue to the next rung; default 1,2,4.",
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="FRACTION",
    help="Fraction of networks that continue; default 0.5.",
)
@cli.survival_options
@cli.JSON
def search(
    teacher: Path,
    out: Path,
    as_json: bool,
    quiet: bool,
    resume: bool,
    checkpoint_every: float,
    max_error: float | None,
    max_latency: float | None,
    engine: str,
    points: int,
    widths: tuple[int, ...] | None,
    depths: tuple[int, ...] | None,
    activations: tuple[str, ...] | None,
    rungs: tuple[int, ...] | None,
    steps: int | None,
    keep: float | None,
) -> None:
    """Find the smallest student of a teacher that meets an error, a latency, or both.

    \b
    kdpinn search runs/burgers/teacher.safetensors --max-error 1e-3 --out runs/search

    Distils a family of networks, continues to train the promising ones, and writes search.csv, search.json, search.png,
    the models of the Pareto front, and the chosen one as student.safetensors.
    """
    largest = [max(widths or types.WIDTHS)] * max(depths or types.DEPTHS)
    if types.weights(largest) > types.MOST_WEIGHTS:
        raise click.BadParameter(
            f"--widths, --depths: {len(largest)} layers of {largest[0]} have more than {types.MOST_WEIGHTS} weights"
        )
    host.use_cores(None)
    host.set_up_jax()
    from ..problems.load import load
    from ..runs.run_many import run_search
    from ..runs.search import Budget, NetworkFamily, SuccessiveHalving

    model = load(teacher)
    host.make_folder(out)
    options = cli.make_options(quiet=quiet, resume=resume, checkpoint_every=checkpoint_every)
    family = NetworkFamily(**_given(widths=widths, depths=depths, activations=activations))
    halving = SuccessiveHalving(**_given(rungs=rungs, steps=steps, keep=keep))
    budget = Budget(max_error, max_latency, engine, points)
    say = (lambda _: None) if quiet else host.say
    content = run_search(model, out, options, budget, family, halving, say=say)
    host.print_json(content) if as_json else click.echo(_tables.of_search(content, out))


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given; the others keep the library's defaults."""
    return {name: value for name, value in options.items() if value is not None}
