"""What every export says of its model, its name, and its files."""

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...base.storage import atomic, library_versions
from ...models.metrics import Metrics
from ...models.model import Model


def weights_hash(model: Model) -> str:
    """SHA-256 of the weights, layer by layer, as they are stored."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def describe(model: Model, metrics: Metrics | None) -> tuple[str, dict[str, str]]:
    """What an export carries in words: a title; and domain, coefficients, network, errors, weights and versions."""
    problem = model.problem
    coefficients = ", ".join(f"{name} = {float(value):.10g}" for name, value in model.coefficients.items()) or "none"
    domain = ", ".join(
        f"{axis} in [{a:.10g}, {b:.10g}]" for axis, a, b in zip(problem.axes, problem.lower, problem.upper, strict=True)
    )
    wrong = "not measured against a reference"
    if metrics and metrics.errors:
        wrong = (
            f"relative L2 {metrics.relative_l2:.2e}, RMSE {metrics.rmse:.2e}, largest {metrics.max_error:.2e} "
            f"({metrics.quantity}, float64, on the domain)"
        )
    layers = " -> ".join(map(str, model.layers))
    return f"({', '.join(problem.fields)})({', '.join(problem.axes)}) of {problem.name} as a neural network", {
        "domain": domain,
        "coefficients": f"{coefficients}; {problem.conditions} conditions",
        "network": f"{layers}, {model.network.activation}, {model.parameters} parameters",
        "errors": wrong,
        "weights": f"sha256 {weights_hash(model)}",
        "versions": ", ".join(f"{name} {number}" for name, number in library_versions().items()),
    }


def metadata(model: Model, metrics: Metrics | None) -> dict[str, Any]:
    """The same for machines, with names, bounds and errors as values of JSON."""
    problem = model.problem
    measured = metrics.as_dict() if metrics else {}
    return describe(model, metrics)[1] | {
        "problem": problem.name,
        "axes": list(problem.axes),
        "fields": list(problem.fields),
        "lower": list(problem.lower),
        "upper": list(problem.upper),
        "metrics": {name: measured[name] for name in ("quantity", "fields") if name in measured},
    }


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
    """Write all files of an export or none: each under a temporary name first, in a folder made if need be.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for file, content in contents.items():
                stack.enter_context(atomic(folder / file)).write_bytes(content)
    except OSError as error:
        raise OSError(f"cannot write into {folder}: {error.strerror}; name another folder") from None
    return tuple(folder / file for file in contents)
