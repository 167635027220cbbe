"""The command ``kdpinn``: results on stdout, messages on stderr, exit code 2 for usage and 1 for other failures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from . import _cli_options as cli
from . import _metrics, _run
from ._files import load, save
from ._metrics import Metrics
from ._model import Model
from ._points import predict_file
from ._predict import compile_predict
from ._problem import Problem
from ._report import TrainingInterrupted
from .problems import ALL

FILE = click.Path(path_type=Path)


def _say(message: str) -> None:
    click.echo(message, err=True)


@click.group(cls=cli.Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="kdpinn-jax", prog_name="kdpinn")
def main(debug: bool) -> None:
    """Train a physics-informed neural network, distil it into a tiny student, and serve the student fast on a CPU.

    \b
    kdpinn run burgers --out runs/burgers
    kdpinn predict runs/burgers/student.safetensors --points points.csv --out values.csv
    """


@main.command()
@cli.JSON
def problems(as_json: bool) -> None:
    """List the problems: inputs, domain, coefficients, terms."""

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
        click.echo(_run.as_json(rows))
        return
    for name, row in rows.items():
        domain = " × ".join(
            f"{axis} ∈ [{a:.6g}, {b:.6g}]" for axis, a, b in zip(row["axes"], row["lower"], row["upper"], strict=True)
        )
        numbers = ", ".join(f"{k}={v:.6g}" for k, v in row["coefficients"].items())
        click.echo(f"{name}: {', '.join(row['fields'])} on {domain}")
        click.echo(f"    coefficients {numbers}; conditions {' or '.join(row['conditions'])}")
        click.echo(f"    terms {', '.join(row['terms'])}")


@main.command()
@click.argument("problem", type=cli.PROBLEM)
@click.option("--out", type=FILE, required=True, metavar="DIR", help="Folder of the results; made if need be.")
@click.option("--teacher-layers", type=cli.Layers(), help="Hidden widths of the teacher.")
@cli.CONDITIONS
@cli.training_options
@cli.JSON
def run(problem: Problem, out: Path, as_json: bool, **options: Any) -> None:
    """Train a teacher, distil a student, measure both.

    \b
    kdpinn run burgers --preset quick --out runs/burgers

    Writes teacher.safetensors, student.safetensors, result.json, history.csv, solution.png and history.png.
    """
    chosen = cli.collected(problem, student=True, **options)
    cli.make_folder(out)
    cli.set_up_jax()

    result = _run.run(problem, out, chosen, say=lambda _: None if options["quiet"] else _say(_))
    click.echo(_run.as_json(result) if as_json else _summary(result, out))


def _summary(result: Mapping[str, Any], out: Path) -> str:
    lines = [
        f"{'':8} {'parameters':>10} {'relative L2':>12} {'RMSE':>10} {'max error':>10} {'seconds':>8}  "
        "µs at N = 1, 1024, 10000"
    ]
    for role in ("teacher", "student"):
        model = result[role]
        latency = model["latency"] or {}
        microseconds = ", ".join(f"{case['median']:.4g}" for case in latency.values())
        seconds = model["seconds_compiling"] + model["seconds_training"]
        lines.append(
            f"{role:8} {model['parameters']:10d} {model['relative_l2']:12.2e} {model['rmse']:10.2e} "
            f"{model['max_error']:10.2e} {seconds:8.1f}  {microseconds}"
        )
    return "\n".join([*lines, f"in {out}"])


@main.command()
@click.argument("problem", type=cli.PROBLEM)
@click.option("--out", type=FILE, required=True, help="The model's file, *.safetensors.")
@cli.CONDITIONS
@cli.training_options
@cli.JSON
def train(problem: Problem, out: Path, as_json: bool, layers: tuple[int, ...] | None, **options: Any) -> None:
    """Train a teacher on a PDE.

    \b
    kdpinn train black_scholes --coefficient sigma=0.3 --out teacher.safetensors
    """
    chosen = cli.collected(problem, student=False, **options)
    cli.check_file(out)
    cli.set_up_jax()

    _train_and_save(lambda: _run.train_by(problem, chosen, layers), out, as_json)


@main.command()
@click.argument("teacher", type=FILE)
@click.option("--out", type=FILE, required=True, help="The student's file, *.safetensors.")
@cli.training_options
@cli.JSON
def distill(teacher: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Distil a student from a teacher; conditions are the teacher's.

    \b
    kdpinn distill teacher.safetensors --layers 16,16 --weight soft_target=10 --out student.safetensors
    """
    cli.set_up_jax()

    model = load(teacher)
    chosen = cli.collected(model.problem, student=True, **options)
    cli.check_file(out)
    _train_and_save(lambda: _run.distill_by(model, chosen), out, as_json)


def _train_and_save(trained: Any, out: Path, as_json: bool) -> None:

    try:
        model = trained()
    except TrainingInterrupted as interrupted:
        if interrupted.model is not None:
            save(interrupted.model, out)
            _say(f"saved what there is in {out}")
        raise
    metrics = _metrics.evaluate(model)
    save(model, out, metrics=metrics)
    for report in model.training:
        _say(f"{report.stage}: {report.why()}")
    _show(model, {"": metrics}, as_json)


@main.command()
@click.argument("model", type=FILE)
@cli.JSON
def evaluate(model: Path, as_json: bool) -> None:
    """Errors of a model against the reference, inside and beyond the domain, and its residual norms.

    \b
    kdpinn evaluate runs/burgers/student.safetensors
    """
    cli.set_up_jax()

    loaded = load(model)
    _show(
        loaded,
        {"": _metrics.evaluate(loaded), "float32": _metrics.evaluate(loaded, predict=compile_predict(loaded))},
        as_json,
    )


def _show(model: Model, found: Mapping[str, Metrics], as_json: bool) -> None:

    metrics = found[""]
    if as_json:
        more = {name: other.as_dict()["fields"] for name, other in found.items() if name}
        shape = {"problem": model.problem.name, "layers": model.layers, "parameters": model.parameters}
        click.echo(_run.as_json(shape | metrics.as_dict() | more))
        return
    click.echo(f"{model.problem.name} {model.layers}, {model.parameters} parameters")
    regions = {f"{name} predictor".strip() if name else "domain": other.errors for name, other in found.items()}
    for region, errors in {**regions, **metrics.extrapolation}.items():
        for name, e in errors.items():
            click.echo(
                f"{region:18} {name:9} relative L2 {e.relative_l2:.2e}  RMSE {e.rmse:.2e}  max {e.max_error:.2e}"
            )
    for name, size in metrics.residuals.items():
        click.echo(f"{'residual':18} {name:15} RMS {size:.2e}")


@main.command()
@click.argument("model", type=FILE)
@click.option("--points", type=FILE, required=True, help="*.csv or *.npy: a column an axis, a row a point.")
@click.option("--out", type=FILE, required=True, help="*.csv or *.npy: the points and, behind them, the values.")
@click.option("--float64", is_flag=True, help="Compute in float64; default float32.")
def predict(model: Path, points: Path, out: Path, float64: bool) -> None:
    """Predict the fields at points read from a file.

    \b
    kdpinn predict student.safetensors --points points.csv --out values.csv
    """
    cli.check_file(out)
    cli.set_up_jax()

    done = predict_file(load(model), points, out, dtype="float64" if float64 else "float32")
    if done.outside:
        _say(f"warning: {done.outside} of {done.points} points lie outside the domain the model was trained on")
    click.echo(f"{done.points} points in {out}")


@main.command()
@click.argument("models", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FILE, required=True, help="The picture, *.png.")
def plot(models: Sequence[Path], out: Path) -> None:
    """Draw models of one problem beside its reference, and their errors on one scale.

    \b
    kdpinn plot runs/burgers/teacher.safetensors runs/burgers/student.safetensors --out burgers.png
    """
    cli.check_file(out)
    cli.set_up_jax()
    from . import plots  # matplotlib takes half a second to import, and this command alone needs it

    loaded = {path.stem if len({p.stem for p in models}) == len(models) else str(path): load(path) for path in models}
    if len({model.problem.name for model in loaded.values()}) > 1:
        raise click.UsageError("the models solve different problems; draw them one problem at a time")
    plots.solution(loaded, out, metrics={name: _metrics.evaluate(model) for name, model in loaded.items()})
    click.echo(f"{out}")
