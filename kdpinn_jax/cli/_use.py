"""The commands that use a model: ``evaluate``, ``predict``, ``export``, ``bench`` and ``plot``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..base.names import one_line
from ..base.problem_file import ProblemFile
from . import _host as host
from . import _options as cli
from . import _tables
from . import _types as types
from ._problems import load_model, load_models

if TYPE_CHECKING:
    from ..evaluation.estimates import ErrorEstimate
    from ..models.metrics import Metrics
    from ..models.model import Model


@click.command(short_help="Print the errors and residuals of a model.")
@click.argument("model", type=types.FILE)
@cli.PROBLEM
@click.option(
    "--against",
    type=types.FILE,
    help="Measure the errors against the values in this file: a table (text of COMSOL, *.csv, *.npy) with the axes and "
    "fields as columns, or a mesh (*.vtu, *.vtk, *.xdmf).",
)
@click.option(
    "--columns",
    type=types.ColumnNames(),
    help="Columns of the axes and fields in a table, by name or by number from 1. Default: by the header.",
)
@click.option("--estimate", is_flag=True, help="Also bound or estimate the error without the reference; takes seconds.")
@cli.JSON
def evaluate(
    model: Path,
    own: ProblemFile | None,
    against: Path | None,
    columns: tuple[str, ...] | None,
    estimate: bool,
    as_json: bool,
) -> None:
    """Print the errors of a model against the reference, inside and outside the domain, and the norms of its residuals.

    \b
    kdpinn evaluate runs/burgers/student.safetensors
    kdpinn evaluate runs/burgers/student.safetensors --estimate
    kdpinn evaluate student.safetensors --problem mine.py:heat
    kdpinn evaluate student.safetensors --problem mine.py:heat --against comsol.txt
    """
    if columns is not None and against is None:
        raise click.UsageError("--columns selects columns of the file of --against, which is missing")
    host.set_up_jax()
    from ..evaluation.error_estimate import error_estimate
    from ..evaluation.evaluate import evaluate as compute_metrics
    from ..runs.read_reference import read_reference
    from ..serving.predict import compile_predict

    loaded, reference = load_model(model, own), None
    if against is not None:
        read = read_reference(against, loaded.problem, columns)
        reference = read.reference
        for note in read.notes:
            host.say(f"note: {one_line(note)}")
    served = compute_metrics(loaded, predict=compile_predict(loaded), reference=reference)
    error = error_estimate(loaded) if estimate else None
    show_errors(loaded, {"": compute_metrics(loaded, reference=reference), "float32": served}, as_json, error)


def show_errors(
    model: "Model", metrics: Mapping[str, "Metrics"], as_json: bool, estimate: "ErrorEstimate | None" = None
) -> None:
    """Print the metrics of a model.

    Args:
        model: the model.
        metrics: the model's own metrics under an empty name, and those of its predictors under theirs.
        as_json: whether to print JSON.
        estimate: the error estimate, if there is one.
    """
    if not as_json:
        click.echo(_tables.of_errors(model, metrics))
        if estimate:
            click.echo(_tables.of_estimate(estimate))
        return
    others = {name: other.as_dict()["fields"] for name, other in metrics.items() if name}
    others |= {"estimate": estimate.as_dict()} if estimate else {}
    about = {"problem": model.problem.name, "layers": model.layers, "parameters": model.parameters}
    host.print_json(about | metrics[""].as_dict() | others)


@click.command()
@click.argument("model", type=types.FILE)
@cli.PROBLEM
@click.option(
    "--points",
    type=types.FILE,
    required=True,
    help="Input file, *.csv, *.txt, *.dat, *.tsv or *.npy: one row per point.",
)
@click.option(
    "--out", type=types.FILE, required=True, help="Output file, *.csv or *.npy: the points, followed by the fields."
)
@click.option(
    "--columns",
    type=types.ColumnNames(),
    help="Columns of the axes in the input file, by name or by number from 1, such as t,x. Default: by the header.",
)
@click.option("--float64", is_flag=True, help="Compute in float64 instead of float32.")
@cli.JSON
def predict(
    model: Path,
    own: ProblemFile | None,
    points: Path,
    out: Path,
    columns: tuple[str, ...] | None,
    float64: bool,
    as_json: bool,
) -> None:
    """Predict the fields at points read from a file.

    \b
    kdpinn predict student.safetensors --points points.csv --out values.csv
    kdpinn predict student.safetensors --points comsol.txt --columns 1,3 --out values.csv

    The input is a table as spreadsheets, NumPy, pandas or COMSOL write it. Its header, which may be a comment, finds
    the columns of the axes. Without a header, and in a .npy file, the columns must be the axes in the order that
    `kdpinn problems` lists. The output has one row per row of the input: the axes in that order, followed by the
    fields. Files may be larger than memory, because they are processed block by block.
    """
    host.check_file(out, points, model, extensions=(".csv", ".npy"))
    host.set_up_jax()
    from ..runs.point_files import predict_file

    dtype = "float64" if float64 else "float32"
    predicted = predict_file(load_model(model, own), points, out, columns=columns, dtype=dtype)
    for note in predicted.notes:
        host.say(f"note: {one_line(note)}")
    if predicted.outside:
        host.warn(f"{predicted.outside} of {predicted.points} points lie outside the model's training domain")
    if as_json:
        host.print_json({"out": str(out), "points": predicted.points, "outside": predicted.outside})
    else:
        click.echo(f"{predicted.points} points in {out}")


@click.command(short_help="Export a model as C, ONNX or StableHLO.")
@click.argument("model", type=types.FILE)
@cli.PROBLEM
@click.option(
    "--format",
    "form",
    type=types.Choice("format", types.FORMATS),
    required=True,
    help="C99 source and header (c), an ONNX graph (onnx), or jax.export and StableHLO bytecode (stablehlo).",
)
@click.option("--out", type=types.FILE, required=True, metavar="DIR", help="Output folder; created if necessary.")
@click.option("--name", help="Name of the files, and prefix of the symbols in C. Default: the problem's name.")
@click.option(
    "--batch",
    type=click.IntRange(1, types.MOST_POINTS),
    help="Number of points per call of an ONNX graph, for hosts that require fixed shapes. Default: any number.",
)
@cli.JSON
def export(
    model: Path, own: ProblemFile | None, form: str, out: Path, name: str | None, batch: int | None, as_json: bool
) -> None:
    """Export a model, including its embedding and ansatz, as a float32 program for use outside Python.

    \b
    kdpinn export runs/burgers/student.safetensors --format c --out burgers_c
    kdpinn export runs/burgers/student.safetensors --format onnx --batch 1 --out burgers_onnx
    """
    if batch is not None and form != "onnx":
        raise click.UsageError(f"option '--batch' has no effect with --format {form}; use it with --format onnx")
    host.set_up_jax()
    from ..models.files import measured_errors
    from ..serving.export import FORMATS

    options = {} if batch is None else {"batch": batch}
    paths = FORMATS[form](load_model(model, own), out, name=name, metrics=measured_errors(model), **options)
    host.print_json({"files": list(map(str, paths))}) if as_json else click.echo("\n".join(map(str, paths)))


@click.command(short_help="Measure the latency of models on one core.")
@click.argument("models", type=types.FILE, nargs=-1, required=True, metavar="MODEL...")
@cli.PROBLEMS
@click.option(
    "--sizes",
    type=types.Counts("SIZES", "numbers of points", "1,1024", types.MOST_POINTS),
    help="Numbers of points per call. Default: 1,16,256,1024,10000,65536.",
)
@click.option(
    "--methods",
    type=types.Choices("method", types.METHODS),
    help="Methods to measure, such as compile_predict,C. Default: all.",
)
@cli.JSON
def bench(
    models: Sequence[Path],
    own: Sequence[ProblemFile],
    sizes: tuple[int, ...] | None,
    methods: tuple[str, ...] | None,
    as_json: bool,
) -> None:
    """Measure the latency of models on one core with XLA, eager JAX, C, ONNX Runtime, NumPy and PyTorch, as installed.

    \b
    kdpinn bench runs/burgers/teacher.safetensors runs/burgers/student.safetensors

    Methods and models take turns in a process that is pinned to one core and has one thread. With two models, the table
    ends with the ratio of their times for each method.
    """
    from ..runs.bench import bench as measure_latency
    from ..serving.bench.measure import SIZES

    load_models(models, own)  # reports an invalid file before minutes of measurement
    host.say("measuring on one core; keep the machine idle")
    result = measure_latency(models, sizes=sizes or SIZES, methods=methods or types.METHODS, problems=own)
    host.print_json(result) if as_json else click.echo(_tables.of_bench(result))


@click.command(short_help="Plot models and their errors, or a training history.")
@click.argument("sources", type=types.FILE, nargs=-1, required=True, metavar="MODEL...|DIR|history.csv")
@cli.PROBLEMS
@click.option("--out", type=types.FILE, help="Output file, *.png, *.pdf or *.svg; required unless a folder is given.")
@cli.JSON
def plot(sources: Sequence[Path], own: Sequence[ProblemFile], out: Path | None, as_json: bool) -> None:
    """Plot the models of one problem with the reference and their errors, or plot a training history.

    \b
    kdpinn plot runs/burgers/teacher.safetensors runs/burgers/student.safetensors --out burgers.png
    kdpinn plot runs/burgers/history.csv --out history.png
    kdpinn plot runs/burgers

    For the folder of a run, solution.png and history.png are drawn again in that folder; with --out, only the solution
    is drawn, to the output file.
    """
    first, is_folder, models = sources[0], sources[0].is_dir(), list(sources)
    if len(sources) > 1 and any(path.is_dir() or path.suffix == ".csv" for path in sources):
        raise click.UsageError(
            "a folder or a .csv file must be the only argument; give models, one folder, or one .csv"
        )
    if out is None and not is_folder:
        raise click.UsageError("missing option '--out'; give an output file, such as --out picture.png")
    if is_folder:
        models = [p for role in ("teacher", "student") if (p := first / f"{role}.safetensors").exists()]
        if not models:
            raise click.ClickException(
                f"{first} contains no teacher.safetensors or student.safetensors; give a folder written by kdpinn run"
            )
    solution = None if first.suffix == ".csv" else out or first / "solution.png"
    history = out if first.suffix == ".csv" else first / "history.png" if out is None else None
    if own and not solution:
        raise click.UsageError("option '--problem' has no effect with a training history; remove it")
    pictures = [picture for picture in (solution, history) if picture]
    for picture in pictures:
        host.check_file(picture, *sources, extensions=(".png", ".pdf", ".svg"))
    host.set_up_jax()
    if solution:
        _draw_solution(models, own, solution)
    if history:
        _draw_history(first / "history.csv" if is_folder else first, history)
    host.print_json({"out": list(map(str, pictures))}) if as_json else click.echo("\n".join(map(str, pictures)))


def _draw_solution(paths: Sequence[Path], own: Sequence[ProblemFile], out: Path) -> None:
    from ..evaluation import plots
    from ..evaluation.evaluate import evaluate
    from ..models.files import unique_names

    models = dict(zip(unique_names(paths), load_models(paths, own), strict=True))
    references = {
        (m.problem.name, m.problem.lower, m.problem.upper, *sorted(m.coefficients.items())) for m in models.values()
    }
    if len(references) > 1:
        raise click.UsageError(
            "the models differ in problem, coefficients or ranges, and therefore in reference; plot them one by one"
        )
    plots.solution(models, out, metrics={name: evaluate(model) for name, model in models.items()})


def _draw_history(path: Path, out: Path) -> None:
    from ..evaluation import plots
    from ..models.history import read_history

    plots.history(read_history(path), out)
