"""Models on disk: one safetensors file with the weights and, as JSON in its header, everything else.

Nothing in a file is executed.
"""

import itertools
import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ..base.fork import check_not_forked
from ..base.names import one_line
from ..base.storage import atomic, library_versions, read_safetensors
from ..pde.checks import check_problem
from ..pde.networks import MLP
from ..pde.parametric import parametric
from ..pde.problem import Problem, with_conditions
from .definition import describe_definition, find_changes
from .metrics import Metrics
from .model import Model, embedded_size
from .report import StageReport, Status, TermReport
from .source import describe_source

#: Incremented whenever an older reader would misread the file.
FORMAT_VERSION = 2
_KEY = "kdpinn_jax"
#: Returns a problem for the name and the source in a header, or raises ModelFileError.
Find = Callable[[Any, Any], Problem]
#: The exceptions that JSON with another structure can cause.
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


class ModelFileError(ValueError):
    """A model file that cannot be used; the message names the file, the reason and the remedy."""


def save(model: Model, path: str | os.PathLike[str], *, metrics: Metrics | None = None) -> None:
    """Write a model to one file, atomically.

    Args:
        model: the model to save.
        path: conventionally ``*.safetensors``.
        metrics: the result of ``evaluate``, stored in the header under ``"errors"``.

    Raises:
        OSError: the file cannot be written.
    """
    problem = model.problem
    header = {
        "format_version": FORMAT_VERSION,
        "problem": problem.name,
        "source": describe_source(problem),
        "conditions": problem.conditions,
        "axes": problem.axes,
        "fields": problem.fields,
        "lower": problem.lower,
        "upper": problem.upper,
        "family": problem.family,
        "coefficients": {name: float(value) for name, value in model.coefficients.items()},
        "network": {
            "hidden": model.network.hidden,
            "activation": model.network.activation,
            "outputs": model.network.outputs,
        },
        "dtype": str(model.dtype),
        "versions": library_versions(),
        "definition": describe_definition(model),
        "training": [_summary(report) for report in model.training],
        "errors": metrics.as_dict() if metrics else None,
    }
    tensors = {
        f"{layer}.{part}": np.ascontiguousarray(value)
        for layer, parts in model.params.items()
        for part, value in parts.items()
    }
    with atomic(path) as temporary:
        save_file(tensors, temporary, {_KEY: json.dumps(header, sort_keys=True)})


def _summary(report: StageReport) -> dict[str, Any]:
    return {
        "stage": report.stage,
        "planned": report.planned,
        "steps": int(report.steps),
        "ending": Status(int(report.status)).name,
        "why": report.why(),
        "seconds_compiling": float(report.seconds_compiling),
        "seconds": float(report.seconds),
        "fresh_loss": float(report.fresh_loss),
        "relative_l2": float(report.relative_l2),
        "terms": {name: term._asdict() for name, term in report.terms.items()},
        "jumps": list(report.jumps),
        # Warnings depend on how far the loss fell, so the first record is kept with the last.
        "first": _record(report, 0),
        "last": _record(report, -1),
    }


def _record(report: StageReport, i: int) -> dict[str, Any] | None:
    if not len(report.record_steps):
        return None
    numbers = {name: float(values[i]) for name, values in report.history.items()}
    return {"step": int(report.record_steps[i]), "seconds": float(report.record_seconds[i]), "mean_squares": numbers}


def _report(summary: dict[str, Any]) -> StageReport:
    records = [record for record in (summary["first"], summary["last"]) if record is not None]
    names = records[0]["mean_squares"] if records else ()
    if records and "loss" not in names:
        raise ValueError("a record without a loss")
    terms = summary.get("terms", {})  # older files have neither terms nor errors in their reports
    if records and not set(terms) <= set(names):
        raise ValueError("a term without a record")
    return StageReport(
        stage=str(summary["stage"]),
        planned=int(summary["planned"]),
        steps=int(summary["steps"]),
        status=int(Status[summary["ending"]]),
        record_steps=np.asarray([int(record["step"]) for record in records], int),
        history={str(name): np.asarray([float(r["mean_squares"][name]) for r in records]) for name in names},
        fresh_loss=float(summary["fresh_loss"]),
        relative_l2=float(summary.get("relative_l2", math.nan)),
        terms={str(name): _term(numbers) for name, numbers in terms.items()},
        jumps=tuple(map(str, summary.get("jumps", ()))),
        seconds_compiling=float(summary["seconds_compiling"]),
        seconds=float(summary["seconds"]),
        record_seconds=np.asarray([float(record["seconds"]) for record in records]),
    )


def _term(numbers: dict[str, Any]) -> TermReport:
    return TermReport(
        weight=float(numbers["weight"]),
        points=int(numbers["points"]),
        rms=float(numbers["rms"]),
        scale=float(numbers["scale"]),
        measured=bool(numbers["measured"]),
        adaptive=bool(numbers["adaptive"]),
    )


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON header of a model file: format version, problem, network, versions, training record, errors.

    Raises:
        ModelFileError: no such file, not a model file, truncated, or of another format version.
    """
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not os.path.isfile(path):
        raise ModelFileError(f"{path}: no such file; give a model written by kdpinn train or kdpinn distill")
    header: dict[str, Any] = {}

    def check(metadata: dict[str, str]) -> None:
        header.update(json.loads(metadata[_KEY]))
        if (version := header.get("format_version")) != FORMAT_VERSION:
            raise ModelFileError(
                f"{path}: format version {one_line(repr(version))}, but this library reads {FORMAT_VERSION}; "
                "use the library version that wrote it"
            )

    try:
        return header, read_safetensors(path, check)
    except ModelFileError:
        raise
    except KeyError:
        raise ModelFileError(f"{path}: a safetensors file, but not one written by this library") from None
    except (SafetensorError, OSError, MemoryError, *_DAMAGE) as error:
        raise ModelFileError(
            f"{path}: not a readable model file, truncated or damaged ({one_line(error)}); create it again"
        ) from None


def _damaged(path: str | os.PathLike[str], error: Exception) -> ModelFileError:
    return ModelFileError(f"{path}: header damaged ({type(error).__name__}: {one_line(error)}); create the model again")


def measured_errors(path: str | os.PathLike[str]) -> Metrics | None:
    """The metrics that the model was saved with, or None.

    Raises:
        ModelFileError: as in ``read_header``, or errors with another structure.
    """
    errors = read_header(path).get("errors")
    try:
        return Metrics.from_dict(errors) if errors else None
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def read_model(path: str | os.PathLike[str], problem: Problem | Find) -> Model:
    """Read a model; ``load`` is the public function.

    Args:
        path: the model file.
        problem: the problem that the model solves, or a function that returns it.

    Raises:
        ModelFileError: as in ``read_header``; a network or domain that does not fit the problem; missing, mis-shaped or
            non-finite weights; weights that mean another solution, because the embedding or the ansatz was edited; or
            an error of the function, with the path in front.
        RuntimeError: this process was forked from one in which JAX has run.
    """
    check_not_forked()
    header, tensors = _read(path)
    try:
        problem = _matching_problem(path, header, problem)
        network = MLP(tuple(header["network"]["hidden"]), header["network"]["activation"], header["network"]["outputs"])
        coefficients = {str(name): float(value) for name, value in header["coefficients"].items()}
        training = tuple(_report(summary) for summary in header["training"])
    except ModelFileError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    if set(coefficients) != set(problem.coefficients) or not all(map(math.isfinite, coefficients.values())):
        raise ModelFileError(f"{path}: coefficients {one_line(coefficients)} do not fit problem {problem.name!r}")
    if network.outputs != (problem.outputs or len(problem.fields)):
        raise ModelFileError(f"{path}: the network has {network.outputs} outputs, which do not fit {problem.name!r}")
    params = _params(path, network.layers(embedded_size(problem)), tensors)
    model = Model(problem, network, params, coefficients, training)
    _compare_definition(path, header, model)
    return model


def _compare_definition(path: str | os.PathLike[str], header: dict[str, Any], model: Model) -> None:
    """Refuse a model whose weights no longer mean the same solution, and warn if its equation was edited."""
    try:
        changes = find_changes(header.get("definition", {}), model)
    except _DAMAGE as error:
        check_problem(model.problem)  # an edited function may raise an exception
        raise _damaged(path, error) from None
    name = model.problem.name
    if changes.values:
        raise ModelFileError(
            f"{path}: problem {name!r} has another embedding or ansatz than when the model was saved, so that the "
            "weights now give other values; restore the old definition, or train again"
        )
    if changes.terms:
        warnings.warn(
            f"{path}: problem {name!r} has changed since the model was trained ({', '.join(changes.terms)}); its "
            "residuals and errors refer to the present definition",
            RuntimeWarning,
            stacklevel=3,
        )


def _matching_problem(path: str | os.PathLike[str], header: dict[str, Any], problem: Problem | Find) -> Problem:
    """The problem of a file, with its conditions and its parametric family, if the file agrees with it."""
    if not isinstance(problem, Problem):
        try:
            problem = problem(header["problem"], header.get("source"))
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from None
    if header["conditions"] == "soft":
        problem = with_conditions(problem, "soft")
    # A header without "family" is from a single equation. The problem passed in may be the family or its equation.
    family = header.get("family", [])
    if family and not problem.family:
        ranges = zip(header["lower"][-len(family) :], header["upper"][-len(family) :], strict=True)
        problem = parametric(problem, **dict(zip(family, ranges, strict=True)))
    for name, given in (
        ("problem", problem.name),
        ("conditions", problem.conditions),
        ("axes", list(problem.axes)),
        ("fields", list(problem.fields)),
        ("lower", list(problem.lower)),
        ("upper", list(problem.upper)),
        ("family", list(problem.family)),
    ):
        stored = family if name == "family" else header[name]
        if stored != given:
            raise ModelFileError(
                f"{path}: {name} is {one_line(repr(stored))} in the file and {given!r} in the problem given"
            )
    return problem


def _params(path: str | os.PathLike[str], layers: tuple[int, ...], tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    if len(tensors) != 2 * (len(layers) - 1):
        raise ModelFileError(f"{path}: {len(tensors)} weights and biases do not fit layers {one_line(layers)}")
    expected = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise(layers)):
        expected[f"dense_{i}.kernel"], expected[f"dense_{i}.bias"] = (inputs, outputs), (outputs,)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != expected:
        raise ModelFileError(
            f"{path}: weights {one_line(shapes)} do not fit layers {one_line(layers)}; expected {one_line(expected)}"
        )
    params: dict[str, Any] = {}
    for name in expected:
        layer, part = name.split(".")
        tensor = tensors[name]
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite and is rejected
            cast = tensor.astype(jax.dtypes.canonicalize_dtype(tensor.dtype))
        if tensor.dtype not in (np.float32, np.float64) or not np.isfinite(cast).all():
            raise ModelFileError(
                f"{path}: weights {name} are not finite floating-point numbers; create the model again"
            )
        params.setdefault(layer, {})[part] = jnp.asarray(cast)
    return params


def unique_names(paths: Sequence[Path]) -> dict[str, Path]:
    """A name for each file: its name without folder and suffix, or the whole path if two files share that."""
    unique = len({path.stem for path in paths}) == len(paths)
    return {path.stem if unique else str(path): path for path in paths}
