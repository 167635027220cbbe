"""The commands that use a model: ``evaluate``, ``predict``, ``export``, ``bench`` and ``plot``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import _host as host
from . import _options as cli
from . import _tables
from . import _types as types

if TYPE_CHECKING:
    from ..evaluation.estimates import ErrorEstimate
    from ..evaluation.evaluate import Metrics
    from ..models.model import Model


@click.command()
@click.argument("model", type=types.FILE)
@click.option("--estimate", is_flag=True, help="Also bound or estimate the error without the reference: seconds.")
@cli.JSON
def evaluate(model: Path, estimate: bool, as_json: bool) -> None:
    """Errors of a model against the reference, inside and beyond the domain, and its residual norms.

    \b
    kdpinn evaluate runs/burgers/student.safetensors
    kdpinn evaluate runs/burgers/student.safetensors --estimate
    """
    from ..evaluation import evaluate as _metrics
    from ..evaluation.error_estimate import error_estimate
    from ..models.files import load
    from ..serving.predict import compile_predict

    host.set_up_jax()
    loaded = load(model)
    served = _metrics.evaluate(loaded, predict=compile_predict(loaded))
    bound = error_estimate(loaded) if estimate else None
    show_errors(loaded, {"": _metrics.evaluate(loaded), "float32": served}, as_json, bound)


def show_errors(
    model: "Model", found: Mapping[str, "Metrics"], as_json: bool, estimate: "ErrorEstimate | None" = None
) -> None:
    metrics = found[""]
    if as_json:
        more = {name: other.as_dict()["fields"] for name, other in found.items() if name}
        more |= {"estimate": estimate.as_dict()} if estimate else {}
        shape = {"problem": model.problem.name, "layers": model.layers, "parameters": model.parameters}
        host.print_json(shape | metrics.as_dict() | more)
        return
    click.echo(_tables.of_errors(model, found))
    if estimate:
        click.echo(_tables.of_estimate(estimate))


@click.command()
@click.argument("model", type=types.FILE)
@click.option("--points", type=types.FILE, required=True, help="*.csv or *.npy: a column an axis, a row a point.")
@click.option("--out", type=types.FILE, required=True, help="*.csv or *.npy: the points and, behind them, the values.")
@click.option("--float64", is_flag=True, help="Compute in float64; default float32.")
@cli.JSON
def predict(model: Path, points: Path, out: Path, float64: bool, as_json: bool) -> None:
    """Predict the fields at points read from a file.

    \b
    kdpinn predict student.safetensors --points points.csv --out values.csv

    A first line of a .csv with the axes' names may put its columns in any order; without it, and in a .npy, they stand
    as `kdpinn problems` lists the axes. The output has the axes in that order and the fields behind them, in a .csv
    under a header. Files of any size are read block by block.
    """
    from ..models.files import load
    from ..runs.point_files import predict_file

    host.check_file(out, points, model, endings=(".csv", ".npy"))
    host.set_up_jax()
    done = predict_file(load(model), points, out, dtype="float64" if float64 else "float32")
    if done.outside:
        host.say(f"warning: {done.outside} of {done.points} points lie outside the domain the model was trained on")
    if as_json:
        host.print_json({"out": str(out), "points": done.points, "outside": done.outside})
    else:
        click.echo(f"{done.points} points in {out}")


@click.command()
@click.argument("model", type=types.FILE)
@click.option(
    "--format",
    "form",
    type=types.Word("format", types.formats),
    metavar="c|onnx|stablehlo",
    required=True,
    help="C99 source and header; an ONNX graph; jax.export and StableHLO bytecode.",
)
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Folder of the files; made if need be.")
@click.option("--name", help="Of files, and of symbols in C. Default: the problem's.")
@cli.JSON
def export(model: Path, form: str, out: Path, name: str | None, as_json: bool) -> None:
    """Write a model as a program for another host, with embedding and ansatz inside; float32.

    \b
    kdpinn export runs/burgers/student.safetensors --format c --out burgers_c
    """
    from ..models.files import load, measured_errors
    from ..serving.export import FORMATS

    host.set_up_jax()
    paths = FORMATS[form](load(model), out, name=name, metrics=measured_errors(model))
    host.print_json({"files": list(map(str, paths))}) if as_json else click.echo("\n".join(map(str, paths)))


@click.command()
@click.argument("models", type=types.FILE, nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--sizes",
    type=types.Counts("SIZES", "numbers of points", "1,1024", types.MOST_POINTS),
    help="Points a call; default 1,16,256,1024,10000,65536.",
)
@click.option(
    "--methods", type=types.Words("method", types.methods), metavar="NAMES", help="With commas; default all there are."
)
@cli.JSON
def bench(
    models: Sequence[Path], sizes: tuple[int, ...] | None, methods: tuple[str, ...] | None, as_json: bool
) -> None:
    """Latency of models on one core, by every method there is: XLA, eager, C, ONNX Runtime, NumPy, PyTorch.

    \b
    kdpinn bench runs/burgers/teacher.safetensors runs/burgers/student.safetensors

    Methods and models take turns, call by call, in a process pinned to one core with one thread. With two models the
    table ends with how much faster the second one is by each method.
    """
    from ..models.files import load
    from ..serving.bench import METHODS, SIZES, bench

    for path in models:
        load(path)  # what is wrong with a file is said before minutes of measuring
    host.say("measuring on one core; run nothing else on this machine meanwhile")
    found = bench(models, sizes=sizes or tuple(SIZES), methods=methods or tuple(METHODS))
    host.print_json(found) if as_json else click.echo(_tables.of_bench(found))


@click.command()
@click.argument("sources", type=types.FILE, nargs=-1, required=True, metavar="MODEL...|DIR|history.csv")
@click.option("--out", type=types.FILE, help="The picture, *.png, *.pdf or *.svg; needed but for a folder.")
@cli.JSON
def plot(sources: Sequence[Path], out: Path | None, as_json: bool) -> None:
    """Draw models of one problem beside its reference with their errors, or the history of their training.

    \b
    kdpinn plot runs/burgers/teacher.safetensors runs/burgers/student.safetensors --out burgers.png
    kdpinn plot runs/burgers/history.csv --out history.png
    kdpinn plot runs/burgers

    The last draws solution.png and history.png of a run anew, in its folder; with --out it draws the solution there.
    """
    first, folder, models = sources[0], sources[0].is_dir(), list(sources)
    if len(sources) > 1 and any(path.is_dir() or path.suffix == ".csv" for path in sources):
        raise click.UsageError("give models, or one folder of a run, or one history.csv")
    if out is None and not folder:
        raise click.UsageError("missing option '--out': name the picture, such as --out picture.png")
    if folder:
        models = [p for role in ("teacher", "student") if (p := first / f"{role}.safetensors").exists()]
        if not models:
            raise click.ClickException(f"{first} holds no teacher.safetensors; give a folder made by kdpinn run")
    solution = None if first.suffix == ".csv" else out or first / "solution.png"
    history = out if first.suffix == ".csv" else first / "history.png" if out is None else None
    drawn = [picture for picture in (solution, history) if picture]
    for picture in drawn:
        host.check_file(picture, *sources, endings=(".png", ".pdf", ".svg"))
    host.set_up_jax()
    if solution:
        _draw_solution(models, solution)
    if history:
        _draw_history(first / "history.csv" if folder else first, history)
    host.print_json({"out": list(map(str, drawn))}) if as_json else click.echo("\n".join(map(str, drawn)))


def _draw_solution(paths: Sequence[Path], out: Path) -> None:
    from ..evaluation import plots
    from ..evaluation.evaluate import evaluate
    from ..models.files import load

    distinct = len({path.stem for path in paths}) == len(paths)
    loaded = {path.stem if distinct else str(path): load(path) for path in paths}
    of = lambda m: (m.problem.name, m.problem.lower, m.problem.upper, *sorted(m.coefficients.items()))
    if len({of(model) for model in loaded.values()}) > 1:
        raise click.UsageError(
            "the models differ in problem, coefficients or ranges, so in reference; draw them one by one"
        )
    plots.solution(loaded, out, metrics={name: evaluate(model) for name, model in loaded.items()})


def _draw_history(path: Path, out: Path) -> None:
    from ..evaluation import plots
    from ..models.history import read_history

    plots.history(read_history(path), out)
