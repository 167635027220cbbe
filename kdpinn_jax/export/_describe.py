"""What every export says of its model, and the field it is written from."""

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike

from .._files import atomic, library_versions
from .._metrics import Metrics
from .._model import Model
from .._objective import network_field
from .._types import Field


def weights_hash(model: Model) -> str:
    """SHA-256 of the weights, layer by layer, as they are stored."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def facts(model: Model, metrics: Metrics | None) -> dict[str, Any]:
    """Names and values an export carries: problem, domain, network, weights, errors, versions."""
    problem = model.problem
    errors: Mapping[str, float] | None = (
        metrics.errors[metrics.quantity]._asdict() if metrics and metrics.errors else None
    )
    return {
        "problem": problem.name,
        "conditions": problem.conditions,
        "axes": list(problem.axes),
        "fields": list(problem.fields),
        "lower": list(map(float, problem.lower)),
        "upper": list(map(float, problem.upper)),
        "coefficients": {name: float(value) for name, value in model.coefficients.items()},
        "layers": list(model.layers),
        "activation": model.network.activation,
        "parameters": model.parameters,
        "weights_sha256": weights_hash(model),
        "errors": {"quantity": metrics.quantity, **errors} if metrics and errors else None,
        "versions": library_versions(),
    }


def describe(model: Model, metrics: Metrics | None) -> tuple[str, list[str]]:
    """The same in words: a title, and lines."""
    f = facts(model, metrics)
    listed = lambda pairs: ", ".join(f"{name} = {value:.10g}" for name, value in pairs) or "none"
    domain = ", ".join(
        f"{axis} in [{a:.10g}, {b:.10g}]" for axis, a, b in zip(f["axes"], f["lower"], f["upper"], strict=True)
    )
    errors = f["errors"]
    wrong = (
        f"relative L2 {errors['relative_l2']:.2e}, RMSE {errors['rmse']:.2e}, largest {errors['max_error']:.2e} "
        f"({errors['quantity']}, float64, on the domain)"
        if errors
        else "not measured against a reference"
    )
    return f"({', '.join(f['fields'])})({', '.join(f['axes'])}) of {f['problem']} as a neural network", [
        f"Domain:       {domain}",
        f"Coefficients: {listed(f['coefficients'].items())}; {f['conditions']} conditions",
        f"Network:      {' -> '.join(map(str, f['layers']))}, {f['activation']}, {f['parameters']} parameters",
        f"Errors:       {wrong}",
        f"Weights:      sha256 {f['weights_sha256']}",
        f"Versions:     {', '.join(f'{name} {number}' for name, number in f['versions'].items())}",
    ]


def field_in(model: Model, dtype: DTypeLike) -> Field:
    """The model as a function of one point in this precision, whatever its own; float64 under ``jax.enable_x64``."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), model.params)
    coefficients = {name: float(value) for name, value in model.coefficients.items()}
    return network_field(model.problem, model.network, params, coefficients)


def identifier(model: Model, name: str | None) -> str:
    """The name of an export, by default the problem's: an identifier of C.

    Raises:
        ValueError: the name given is none.
    """
    if name is None:
        plain = re.sub(r"\W", "_", model.problem.name, flags=re.ASCII)
        return plain if plain[:1].isalpha() else f"model_{plain}"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"name={name!r} is not an identifier of C; use letters, digits and _, a letter first")
    return name


def write_all(directory: str | os.PathLike[str], contents: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write all files of an export or none: each under a temporary name first, in a folder made if need be."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for file, content in contents.items():
            stack.enter_context(atomic(folder / file)).write_bytes(content)
    return tuple(folder / file for file in contents)
