"""Models on disk: one safetensors file with the weights and, as JSON in its header, everything else.

Nothing in a file is ever executed.
"""

import itertools
import json
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ..base.names import nearest, one_line
from ..base.storage import atomic, library_versions, read_safetensors
from ..evaluation.evaluate import Metrics
from ..pde.networks import MLP
from ..pde.parametric import parametric
from ..pde.problem import Problem, with_conditions
from ..training.stages import Ending
from .model import Model, embedded_size
from .report import StageReport

#: Raised by one whenever an older reader would misread the file.
FORMAT_VERSION = 2
_KEY = "kdpinn_jax"
#: What JSON of another form than ours meets on its way to a model.
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


class ModelFileError(ValueError):
    """A model file that cannot be used; the message names the file, what is wrong with it and what to do."""


def save(model: Model, path: str | os.PathLike[str], *, metrics: Metrics | None = None) -> None:
    """Write the model to one file, whole or not at all.

    Args:
        model: what to save.
        path: by custom ``*.safetensors``.
        metrics: what ``evaluate`` found, kept in the header as ``"errors"``.
    """
    problem = model.problem
    header = {
        "format_version": FORMAT_VERSION,
        "problem": problem.name,
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
        "ending": Ending(int(report.ending)).name,
        "why": report.why(),
        "seconds_compiling": float(report.seconds_compiling),
        "seconds": float(report.seconds),
        "fresh_loss": float(report.fresh_loss),
        # The first record beside the last: how far the loss fell is what a warning goes by.
        "first": _record(report, 0),
        "last": _record(report, -1),
    }


def _record(report: StageReport, i: int) -> dict[str, Any] | None:
    if not len(report.record_steps):
        return None
    numbers = {name: float(values[i]) for name, values in report.history.items()}
    return {"step": int(report.record_steps[i]), "seconds": float(report.record_seconds[i]), "mean_squares": numbers}


def _restored(summary: dict[str, Any]) -> StageReport:
    records = [record for record in (summary["first"], summary["last"]) if record is not None]
    names = records[0]["mean_squares"] if records else ()
    if records and "loss" not in names:
        raise ValueError("a record without its loss")
    return StageReport(
        stage=str(summary["stage"]),
        planned=int(summary["planned"]),
        steps=int(summary["steps"]),
        ending=int(Ending[summary["ending"]]),
        record_steps=np.asarray([int(record["step"]) for record in records], int),
        history={str(name): np.asarray([float(r["mean_squares"][name]) for r in records]) for name in names},
        fresh_loss=float(summary["fresh_loss"]),
        seconds_compiling=float(summary["seconds_compiling"]),
        seconds=float(summary["seconds"]),
        record_seconds=np.asarray([float(record["seconds"]) for record in records]),
    )


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON header of a model file: format version, problem, network, versions, training record, errors.

    Raises:
        ModelFileError: no such file, not a model of ours, truncated, or of another format version.
    """
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not os.path.isfile(path):
        raise ModelFileError(f"{path}: no such file; give a model written by kdpinn train or kdpinn distill")
    header: dict[str, Any] = {}

    def check(metadata: dict[str, str]) -> None:
        header.update(json.loads(metadata[_KEY]))
        if (found := header.get("format_version")) != FORMAT_VERSION:
            raise ModelFileError(
                f"{path}: format version {one_line(repr(found))}, this library reads {FORMAT_VERSION}; "
                "use the version that wrote it"
            )

    try:
        return header, read_safetensors(path, check)
    except ModelFileError:
        raise
    except KeyError:
        raise ModelFileError(f"{path}: a safetensors file, but not one written by this library") from None
    except (SafetensorError, OSError, MemoryError, *_DAMAGE) as error:
        raise ModelFileError(
            f"{path}: not a readable model file, truncated or damaged ({one_line(error)}); make it anew"
        ) from None


def _damaged(path: str | os.PathLike[str], error: Exception) -> ModelFileError:
    return ModelFileError(f"{path}: header damaged ({type(error).__name__}: {one_line(error)}); make the model anew")


def measured_errors(path: str | os.PathLike[str]) -> Metrics | None:
    """What ``evaluate`` had found when the file was written, if it was saved with it.

    Raises:
        ModelFileError: what ``read_header`` raises, or errors of another form.
    """
    errors = read_header(path).get("errors")
    try:
        return Metrics.from_dict(errors) if errors else None
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def load(path: str | os.PathLike[str], *, problem: Problem | None = None) -> Model:
    """A model from a file written by ``save``, in the file's precision (float32 where float64 is not enabled).

    Args:
        path: the file.
        problem: the problem it solves, for one that does not come with the library; of a parametric one the problem
            it was made of will do.

    Raises:
        ModelFileError: what ``read_header`` raises, an unknown problem, a network or domain that does not fit it,
            missing, mis-shaped or non-finite weights.
    """
    header, tensors = _read(path)
    try:
        problem = _problem_of(path, header, problem)
        network = MLP(tuple(header["network"]["hidden"]), header["network"]["activation"], header["network"]["outputs"])
        coefficients = {str(name): float(value) for name, value in header["coefficients"].items()}
        training = tuple(_restored(summary) for summary in header["training"])
    except ModelFileError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    if set(coefficients) != set(problem.coefficients) or not all(map(math.isfinite, coefficients.values())):
        raise ModelFileError(f"{path}: coefficients {one_line(coefficients)} do not fit problem {problem.name!r}")
    if network.outputs != (problem.outputs or len(problem.fields)):
        raise ModelFileError(f"{path}: the network has {network.outputs} outputs, which do not fit {problem.name!r}")
    return Model(
        problem, network, _params(path, network.layers(embedded_size(problem)), tensors), coefficients, training
    )


def _problem_of(path: str | os.PathLike[str], header: dict[str, Any], problem: Problem | None) -> Problem:
    from ..problems import ALL  # here, so that a file can be read and checked without loading every problem

    name = header["problem"]
    if problem is None:
        if name not in ALL:
            raise ModelFileError(
                f"{path}: problem {one_line(repr(name))} does not come with the library{nearest(one_line(name), ALL)}; "
                "give your own as load(path, problem=…)"
            )
        problem = with_conditions(ALL[name], header["conditions"])
    # A file without the line is of one equation. A problem given may be the family or the equation it is made of.
    family = header.get("family", [])
    if family and not problem.family:
        ranges = zip(header["lower"][-len(family) :], header["upper"][-len(family) :], strict=True)
        problem = parametric(problem, **dict(zip(family, ranges, strict=True)))
    for what, ours in (
        ("problem", problem.name),
        ("conditions", problem.conditions),
        ("axes", list(problem.axes)),
        ("fields", list(problem.fields)),
        ("lower", list(problem.lower)),
        ("upper", list(problem.upper)),
        ("family", list(problem.family)),
    ):
        theirs = family if what == "family" else header[what]
        if theirs != ours:
            theirs = one_line(repr(theirs))
            raise ModelFileError(f"{path}: {what} is {theirs} in the file and {ours!r} in the problem given")
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
            f"{path}: weights {one_line(shapes)} do not fit layers {one_line(layers)}, which need {one_line(expected)}"
        )
    params: dict[str, Any] = {}
    for name in expected:
        layer, part = name.split(".")
        tensor = tensors[name]
        with np.errstate(over="ignore"):  # a number too large for float32 is found out as infinite
            cast = tensor.astype(jax.dtypes.canonicalize_dtype(tensor.dtype))
        if tensor.dtype not in (np.float32, np.float64) or not np.isfinite(cast).all():
            raise ModelFileError(f"{path}: weights {name} are not finite floating-point numbers; make the model anew")
        params.setdefault(layer, {})[part] = jnp.asarray(cast)
    return params
