"""The commands that train many students: ``sweep`` and ``search``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..base.names import nearest
from . import _host as host
from . import _options as cli
from . import _tables
from . import _types as types

if TYPE_CHECKING:
    from ..models.model import Model
    from ..pde.problem import Problem
    from ..runs.result import Options


@click.command()
@click.argument("source", metavar="PROBLEM|TEACHER")
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Folder of the results; made if need be.")
@click.option(
    "--vary",
    "varied",
    type=types.Vary(),
    multiple=True,
    required=True,
    help="Values of one quantity, such as seed=0:16, nu=0.005,0.01, layers=20x20,10x10x10 or learning_rate=1e-3,1e-2. "
    "Repeatable: every combination is a member.",
)
@click.option("--keep", type=click.IntRange(0), default=3, show_default=True, help="Models saved, the best ones.")
@click.option("--chunk", type=click.IntRange(1), help="Members a device holds at a time; default 1 on a CPU.")
@click.option("--devices", type=click.IntRange(1, 1024), help="CPU cores to use; default all.")
@click.option(
    "--distributed", is_flag=True, help="One of several processes, as Slurm, Open MPI or a TPU pod start them."
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
    from ..runs import run_many as _run_many

    host.use_cores(devices)
    host.set_up_jax()
    if distributed:
        host.join_processes()
    what, chosen = _source(source, options)
    try:
        made = _run_many.members_by(what, chosen, dict(varied))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    host.make_folder(out)
    rows = _run_many.run_sweep(what, made, out, chosen, keep=keep, chunk=chunk, say=host.say)
    if host.is_first_process():
        names = [name for name, _ in varied]
        host.print_json(rows) if as_json else click.echo(_tables.of_sweep(rows, names, out))


@click.command()
@click.argument("teacher", type=types.FILE)
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Folder of the results; made if need be.")
@click.option("--max-error", type=types.Positive(), metavar="NUMBER", help="The relative L2 error that will do.")
@click.option("--max-latency", type=types.Positive(), metavar="MICROSECONDS", help="Of a call of --points points.")
@click.option(
    "--engine",
    type=types.Word("engine", types.engines),
    metavar="jit|c",
    default="jit",
    show_default=True,
    help="What is timed, on one core: compile_predict or the C export.",
)
@click.option("--points", type=click.IntRange(1, 10_000_000), default=10_000, show_default=True, help="Points a call.")
@click.option(
    "--widths",
    type=types.Counts("WIDTHS", "hidden widths", "4,8,16", types.WIDEST),
    help="Of hidden layers, that are tried; default 4,6,8,12,16,20,28.",
)
@click.option(
    "--depths",
    type=types.Counts("DEPTHS", "numbers of hidden layers", "1,2,3", types.DEEPEST),
    help="Numbers of hidden layers that are tried; default 1,2,3.",
)
@click.option("--activations", type=types.Words("activation", types.activations), metavar="NAMES", help="Default tanh.")
@click.option("--steps", type=click.IntRange(1, 10_000), help="Of Levenberg-Marquardt in a turn; default 40.")
@click.option(
    "--rungs",
    type=types.Counts("TURNS", "numbers of turns", "1,2,4", 10_000),
    help="Turns each rung adds; the better ones go on to the next rung; default 1,2,4.",
)
@click.option(
    "--keep", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE", help="Of networks that go on; default 0.5."
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
    widths: tuple[int, ...] | None,
    depths: tuple[int, ...] | None,
    **others: Any,
) -> None:
    """Find the smallest student of a teacher that meets an error, a latency, or both.

    \b
    kdpinn search runs/burgers/teacher.safetensors --max-error 1e-3 --out runs/search

    Distils a family of networks, trains the promising ones on, and writes search.csv, search.json, search.png, the
    models of the Pareto front, and the one chosen as student.safetensors.
    """
    from ..models.files import load
    from ..runs import run_many as _run_many
    from ..runs import search as _search
    from ..runs.result import Options

    largest = [max(widths or _search.WIDTHS)] * max(depths or _search.DEPTHS)
    if types.weights(largest) > types.MOST_WEIGHTS:
        raise click.BadParameter(
            f"--widths, --depths: {len(largest)} layers of {largest[0]} have more than {types.MOST_WEIGHTS} weights"
        )
    host.use_cores(None)
    host.set_up_jax()
    model = load(teacher)
    host.make_folder(out)
    options = Options(progress=False if quiet else None, resume=resume, checkpoint_every=checkpoint_every)
    given = {name: value for name, value in {"widths": widths, "depths": depths, **others}.items() if value is not None}
    content = _run_many.run_search(model, out, options, say=(lambda _: None) if quiet else host.say, **given)
    host.print_json(content) if as_json else click.echo(_tables.of_search(content, out))


def _source(text: str, options: Mapping[str, Any]) -> "tuple[Problem | Model, Options]":
    """The problem or the teacher that is meant, under the options' conditions, and the options as one value."""
    from ..models.files import load
    from ..problems import ALL

    if text in ALL and not Path(text).is_file():
        chosen = cli.collected(ALL[text], student=False, **options)
        return chosen.applied_to(ALL[text]), chosen
    if not Path(text).exists():
        raise click.BadParameter(f"{text!r} is neither a problem{nearest(text, ALL)} nor the file of a teacher")
    model = load(text)
    if options["conditions"] not in (None, model.problem.conditions):
        raise click.BadParameter(f"--conditions {options['conditions']}: the teacher's are {model.problem.conditions}")
    return model, cli.collected(model.problem, student=True, **{**options, "conditions": model.problem.conditions})
