"""The command ``kdpinn``: results on stdout, messages on stderr, exit code 2 for usage and 1 for other failures.

Commands import what they need when they run.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _cli_many, _tables
from . import _cli_options as cli

if TYPE_CHECKING:
    from ._checkpoint import Checkpoint
    from ._metrics import Metrics
    from ._model import Model
    from ._problem import Problem
    from ._result import Options
    from .bounds._result import ErrorEstimate

FILE = click.Path(path_type=Path)
Ranges = tuple[tuple[str, tuple[float, float]], ...]


@click.group(cls=cli.Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="kdpinn-jax", prog_name="kdpinn")
def main(debug: bool) -> None:
    """Train a physics-informed neural network, distil it into a tiny student, and serve the student fast on a CPU.

    \b
    kdpinn run burgers --out runs/burgers
    kdpinn predict runs/burgers/student.safetensors --points points.csv --out values.csv

    Results go to stdout, messages to stderr. The exit code is 2 for a mistake in the call, 1 for any other failure.
    """
    cli.print_anything()
    # What a cluster sends before it takes a machine away is a Ctrl-C: what there is gets saved.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@main.command()
@cli.JSON
def problems(as_json: bool) -> None:
    """List the problems: inputs, domain, coefficients, conditions, terms.

    \b
    kdpinn problems
    """
    from .problems import ALL

    rows = {
        name: {
            "axes": p.axes,
            "fields": p.fields,
            "lower": p.lower,
            "upper": p.upper,
            "coefficients": dict(p.coefficients),
            "terms": list(p.terms),
            "conditions": ["soft", "hard"] if p.enforced else ["soft"],
        }
        for name, p in ALL.items()
    }
    if as_json:
        cli.print_json(rows)
        return
    click.echo(_tables.of_problems(rows))


@main.command()
@click.argument("problem", type=cli.PROBLEM)
@click.option("--out", type=FILE, required=True, metavar="DIR", help="Folder of the results; made if need be.")
@click.option("--teacher-layers", type=cli.Layers(), help="Hidden widths of the teacher.")
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
    from . import _run

    problem = cli.of_family(problem, ranges)
    chosen = cli.collected(problem, student=True, **options)
    cli.make_folder(out)
    cli.set_up_jax()
    result = _run.run(problem, out, chosen, say=(lambda _: None) if options["quiet"] else cli.say, warn=cli.say)
    cli.print_json(result) if as_json else click.echo(_tables.of_run(result, out))


@main.command()
@click.argument("problem", type=cli.PROBLEM)
@click.option("--out", type=FILE, required=True, help="The model's file, *.safetensors.")
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
    from . import _run

    problem = cli.of_family(problem, ranges)
    chosen = cli.collected(problem, student=False, **options)
    cli.check_file(out)
    cli.set_up_jax()
    _train_and_save(lambda checkpoint: _run.train_by(problem, chosen, layers, checkpoint), out, chosen, as_json)


@main.command()
@click.argument("teacher", type=FILE)
@click.option("--out", type=FILE, required=True, help="The student's file, *.safetensors.")
@cli.training_options
@cli.JSON
def distill(teacher: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Distil a student from a teacher; problem, conditions, coefficients and ranges are the teacher's.

    \b
    kdpinn distill teacher.safetensors --layers 16,16 --weight soft_target=10 --out student.safetensors
    """
    from . import _run
    from ._files import load

    cli.set_up_jax()
    model = load(teacher)
    chosen = cli.collected(model.problem, student=True, conditions=model.problem.conditions, **options)
    cli.check_file(out, teacher)
    _train_and_save(lambda checkpoint: _run.distill_by(model, chosen, checkpoint), out, chosen, as_json)


def _train_and_save(trained: Callable[["Checkpoint"], "Model"], out: Path, chosen: "Options", as_json: bool) -> None:
    from . import _run
    from ._files import save
    from ._metrics import evaluate
    from ._report import TrainingInterrupted, warnings

    checkpoint = _run.checkpoint_in(out.with_name(f"{out.name}.{_run.CHECKPOINTS}"), chosen, cli.say)
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
        cli.say(f"{report.stage}: {report.why()}")
    for warning in warnings(model.training):
        cli.say(f"warning: {warning}")
    _show(model, {"": metrics}, as_json)


@main.command()
@click.argument("model", type=FILE)
@click.option("--estimate", is_flag=True, help="Also bound or estimate the error without the reference: seconds.")
@cli.JSON
def evaluate(model: Path, estimate: bool, as_json: bool) -> None:
    """Errors of a model against the reference, inside and beyond the domain, and its residual norms.

    \b
    kdpinn evaluate runs/burgers/student.safetensors
    kdpinn evaluate runs/burgers/student.safetensors --estimate
    """
    from . import _metrics
    from ._error_estimate import error_estimate
    from ._files import load
    from ._predict import compile_predict

    cli.set_up_jax()
    loaded = load(model)
    served = _metrics.evaluate(loaded, predict=compile_predict(loaded))
    bound = error_estimate(loaded) if estimate else None
    _show(loaded, {"": _metrics.evaluate(loaded), "float32": served}, as_json, bound)


def _show(
    model: "Model", found: Mapping[str, "Metrics"], as_json: bool, estimate: "ErrorEstimate | None" = None
) -> None:
    metrics = found[""]
    if as_json:
        more = {name: other.as_dict()["fields"] for name, other in found.items() if name}
        more |= {"estimate": estimate.as_dict()} if estimate else {}
        shape = {"problem": model.problem.name, "layers": model.layers, "parameters": model.parameters}
        cli.print_json(shape | metrics.as_dict() | more)
        return
    click.echo(_tables.of_errors(model, found))
    if estimate:
        click.echo(_tables.of_estimate(estimate))


@main.command()
@click.argument("model", type=FILE)
@click.option("--points", type=FILE, required=True, help="*.csv or *.npy: a column an axis, a row a point.")
@click.option("--out", type=FILE, required=True, help="*.csv or *.npy: the points and, behind them, the values.")
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
    from ._files import load
    from ._points import predict_file

    cli.check_file(out, points, model, endings=(".csv", ".npy"))
    cli.set_up_jax()
    done = predict_file(load(model), points, out, dtype="float64" if float64 else "float32")
    if done.outside:
        cli.say(f"warning: {done.outside} of {done.points} points lie outside the domain the model was trained on")
    if as_json:
        cli.print_json({"out": str(out), "points": done.points, "outside": done.outside})
    else:
        click.echo(f"{done.points} points in {out}")


@main.command()
@click.argument("model", type=FILE)
@click.option(
    "--format",
    "form",
    type=cli.Word("format", cli.formats),
    metavar="c|onnx|stablehlo",
    required=True,
    help="C99 source and header; an ONNX graph; jax.export and StableHLO bytecode.",
)
@click.option("--out", type=FILE, required=True, metavar="DIR", help="Folder of the files; made if need be.")
@click.option("--name", help="Of files, and of symbols in C. Default: the problem's.")
@cli.JSON
def export(model: Path, form: str, out: Path, name: str | None, as_json: bool) -> None:
    """Write a model as a program for another host, with embedding and ansatz inside; float32.

    \b
    kdpinn export runs/burgers/student.safetensors --format c --out burgers_c
    """
    from ._files import load, measured_errors
    from .export import FORMATS

    cli.set_up_jax()
    paths = FORMATS[form](load(model), out, name=name, metrics=measured_errors(model))
    cli.print_json({"files": list(map(str, paths))}) if as_json else click.echo("\n".join(map(str, paths)))


@main.command()
@click.argument("models", type=FILE, nargs=-1, required=True, metavar="MODEL...")
@click.option("--sizes", type=cli.Sizes(), help="Points a call; default 1,16,256,1024,10000,65536.")
@click.option(
    "--methods", type=cli.Words("method", cli.methods), metavar="NAMES", help="With commas; default all there are."
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
    from ._files import load
    from .bench import METHODS, SIZES, bench

    for path in models:
        load(path)  # what is wrong with a file is said before minutes of measuring
    cli.say("measuring on one core; run nothing else on this machine meanwhile")
    found = bench(models, sizes=sizes or tuple(SIZES), methods=methods or tuple(METHODS))
    cli.print_json(found) if as_json else click.echo(_tables.of_bench(found))


@main.command()
@click.argument("sources", type=FILE, nargs=-1, required=True, metavar="MODEL...|DIR|history.csv")
@click.option("--out", type=FILE, help="The picture, *.png, *.pdf or *.svg; needed but for a folder.")
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
        cli.check_file(picture, *sources, endings=(".png", ".pdf", ".svg"))
    cli.set_up_jax()
    if solution:
        _draw_solution(models, solution)
    if history:
        _draw_history(first / "history.csv" if folder else first, history)
    cli.print_json({"out": list(map(str, drawn))}) if as_json else click.echo("\n".join(map(str, drawn)))


def _draw_solution(paths: Sequence[Path], out: Path) -> None:
    from . import plots
    from ._files import load
    from ._metrics import evaluate

    distinct = len({path.stem for path in paths}) == len(paths)
    loaded = {path.stem if distinct else str(path): load(path) for path in paths}
    of = lambda m: (m.problem.name, m.problem.lower, m.problem.upper, *sorted(m.coefficients.items()))
    if len({of(model) for model in loaded.values()}) > 1:
        raise click.UsageError(
            "the models differ in problem, coefficients or ranges, so in reference; draw them one by one"
        )
    plots.solution(loaded, out, metrics={name: evaluate(model) for name, model in loaded.items()})


def _draw_history(path: Path, out: Path) -> None:
    from . import plots
    from ._history import read_history

    plots.history(read_history(path), out)


main.add_command(_cli_many.sweep)
main.add_command(_cli_many.search)
