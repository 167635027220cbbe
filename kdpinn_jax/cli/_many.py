"""The commands that train many networks: ``sweep`` and ``search``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..base.names import nearest
from ..base.problem_file import ProblemFile
from . import _host as host
from . import _options as cli
from . import _tables
from . import _types as types
from ._outline import Outline, outline_of, read_outline, shipped_outlines
from ._problems import check_one_problem, load_model, load_own


@click.command(short_help="Train many teachers or students together.")
@click.argument("source", metavar="PROBLEM|TEACHER", required=False)
@cli.PROBLEM
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Output folder; created if necessary.")
@click.option(
    "--vary",
    "varied",
    type=types.Vary(),
    multiple=True,
    required=True,
    help="Quantity to vary and its values, such as seed=0:16, nu=0.005,0.01, layers=20x20,10x10x10 or "
    "learning_rate=1e-3,1e-2. Repeatable; every combination is a member of the sweep.",
)
@click.option("--keep", type=click.IntRange(0), default=3, show_default=True, help="Number of best models to save.")
@click.option(
    "--chunk",
    type=click.IntRange(1),
    help="Number of members that a device trains at a time. Default: 1 on a CPU, 64 on other devices.",
)
@click.option("--devices", type=click.IntRange(1, 1024), help="Number of CPU cores to use. Default: all.")
@click.option(
    "--distributed", is_flag=True, help="Run as one of several processes started by Slurm, Open MPI or a TPU pod."
)
@cli.CONDITIONS
@cli.training_options("members")
@cli.JSON
def sweep(
    source: str | None,
    own: ProblemFile | None,
    out: Path,
    varied: Sequence[tuple[str, list[Any]]],
    keep: int,
    chunk: int | None,
    devices: int | None,
    distributed: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train the members of a sweep together: teachers for a problem, or students of a teacher.

    \b
    kdpinn sweep burgers --vary seed=0:4 --vary nu=0.005,0.01 --out runs/sweep
    kdpinn sweep runs/burgers/teacher.safetensors --vary seed=0:16 --out runs/students
    kdpinn sweep --problem mine.py:heat --vary seed=0:4 --out runs/heat

    Saves the best members as member-NNN.safetensors, and writes sweep.csv, sweep.json and sweep.png.
    """
    teacher = _teacher(source)
    if teacher is None:
        check_one_problem(source, own)
    outline = read_outline(teacher) if teacher else shipped_outlines()[source] if source else None
    names = [name for name, _ in varied]
    if outline:
        _check(outline, names, options, student=teacher is not None)
    host.use_cores(devices)
    host.set_up_jax()
    if distributed:
        host.join_processes()
    from ..problems import ALL
    from ..runs.run_many import members_with, run_sweep

    if teacher:
        origin = load_model(teacher, own)
        _check(outline_of(origin.problem), names, options, student=True)
        chosen = cli.make_options(**{**options, "conditions": origin.problem.conditions})
    else:
        (problem,) = load_own([own]) if own else [ALL[str(source)]]
        _check(outline_of(problem), names, options, student=False)
        chosen = cli.make_options(**options)
        origin = chosen.applied_to(problem)
    try:
        members = members_with(origin, chosen, dict(varied))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    host.make_folder(out)
    rows = run_sweep(origin, members, out, chosen, keep=keep, chunk=chunk)
    if host.is_first_process():
        host.print_json(rows) if as_json else click.echo(_tables.of_sweep(rows, names, out))


def _teacher(source: str | None) -> Path | None:
    """The file of the teacher, or None if the source is not a file.

    Raises:
        click.BadParameter: the source is neither a file nor a problem.
    """
    if source is None or (source in shipped_outlines() and not Path(source).is_file()):
        return None
    if hint := types.hint_of_own(source):
        raise click.BadParameter(f"{source!r} is not the file of a teacher{hint}")
    if not Path(source).exists():
        guess = nearest(source, shipped_outlines())
        raise click.BadParameter(f"{source!r} is neither the file of a teacher nor a problem{guess}")
    return Path(source)


def _check(outline: Outline, varied: Sequence[str], options: Mapping[str, Any], *, student: bool) -> None:
    """Check the names in the options and those of the quantities that vary."""
    to_check = _student_options(options, outline) if student else options
    _check_varied(varied, cli.check_names(outline, student=student, **to_check), student)


def _student_options(options: Mapping[str, Any], outline: Outline) -> dict[str, Any]:
    """The options to check for students, whose conditions are their teacher's."""
    conditions = "hard" if outline.enforced else "soft"
    if options["conditions"] not in (None, conditions):
        raise click.BadParameter(
            f"--conditions {options['conditions']}: the teacher has {conditions} conditions, and so have its students; "
            "remove the option"
        )
    return {**options, "conditions": None, "recipe": "default"}


def _check_varied(names: Sequence[str], outline: Outline, student: bool) -> None:
    known = (*outline.coefficients, *outline.weights(student), *types.STAGE_NUMBERS, "seed", "layers", "activation")
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} cannot be varied{nearest(name, known)}")


@click.command(short_help="Find the smallest student within limits on error and latency.")
@click.argument("teacher", type=types.FILE)
@cli.PROBLEM
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Output folder; created if necessary.")
@click.option("--max-error", type=types.Positive(), metavar="NUMBER", help="Largest acceptable relative L2 error.")
@click.option("--max-latency", type=types.Positive(), metavar="MICROSECONDS", help="Largest acceptable time per call.")
@click.option(
    "--engine",
    type=types.Choice("engine", types.ENGINES),
    default="jit",
    show_default=True,
    help="Program to time on one core: compile_predict (jit) or the C export (c).",
)
@click.option(
    "--points", type=click.IntRange(1, 10_000_000), default=10_000, show_default=True, help="Number of points per call."
)
@click.option(
    "--widths",
    type=types.Counts("WIDTHS", "hidden widths", "4,8,16", types.WIDEST),
    help="Hidden widths to try. Default: 4,6,8,12,16,20,28.",
)
@click.option(
    "--depths",
    type=types.Counts("DEPTHS", "numbers of hidden layers", "1,2,3", types.DEEPEST),
    help="Numbers of hidden layers to try. Default: 1,2,3.",
)
@click.option(
    "--activations",
    type=types.Choices("activation", types.ACTIVATIONS),
    help="Activation functions to try. Default: tanh.",
)
@click.option("--steps", type=click.IntRange(1, 10_000), help="Levenberg-Marquardt steps per round. Default: 40.")
@click.option(
    "--rungs",
    type=types.Counts("ROUNDS", "numbers of rounds", "1,2,4", 10_000),
    help="Rounds of training in each rung, after which the better networks continue to the next rung. Default: 1,2,4.",
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="FRACTION",
    help="Fraction of the networks that continue. Default: 0.5.",
)
@cli.survival_options
@cli.JSON
def search(
    teacher: Path,
    own: ProblemFile | None,
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
    """Find the smallest student of a teacher that meets a limit on its error, its latency, or both.

    \b
    kdpinn search runs/burgers/teacher.safetensors --max-error 1e-3 --out runs/search

    Distils a family of networks and trains the most promising ones further. Writes search.csv, search.json, search.png,
    the models of the Pareto front, and the chosen one as student.safetensors.
    """
    largest = [max(widths or types.WIDTHS)] * max(depths or types.DEPTHS)
    if types.weights(largest) > types.MOST_WEIGHTS:
        raise click.BadParameter(
            f"--widths, --depths: {len(largest)} layers of {largest[0]} neurons have more than {types.MOST_WEIGHTS} "
            "weights; give smaller numbers"
        )
    host.use_cores(None)
    host.set_up_jax()
    from ..runs.run_many import run_search
    from ..runs.search_plan import Budget, NetworkFamily, SuccessiveHalving

    model = load_model(teacher, own)
    host.make_folder(out)
    options = cli.make_options(quiet=quiet, resume=resume, checkpoint_every=checkpoint_every)
    family = NetworkFamily(**_given(widths=widths, depths=depths, activations=activations))
    halving = SuccessiveHalving(**_given(rungs=rungs, steps=steps, keep=keep))
    budget = Budget(max_error, max_latency, engine, points)
    say = (lambda _: None) if quiet else host.say
    content = run_search(model, out, options, budget, family, halving, say=say, source=own)
    host.print_json(content) if as_json else click.echo(_tables.of_search(content, out))


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given; the others keep the library's defaults."""
    return {name: value for name, value in options.items() if value is not None}
