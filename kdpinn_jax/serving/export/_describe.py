"""The description, name and files that all exports have in common."""

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
    """The SHA-256 digest of the model's parameters in their precision, layer by layer."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def describe(model: Model, metrics: Metrics | None) -> tuple[str, dict[str, str]]:
    """A model as text.

    Args:
        model: any model.
        metrics: its errors; None if they were not measured.

    Returns:
        The title, and ``{"domain", "coefficients", "network", "errors", "weights", "versions"}``.
    """
    problem = model.problem
    coefficients = ", ".join(f"{name} = {float(value):.10g}" for name, value in model.coefficients.items()) or "none"
    domain = ", ".join(
        f"{axis} in [{a:.10g}, {b:.10g}]" for axis, a, b in zip(problem.axes, problem.lower, problem.upper, strict=True)
    )
    errors = "not measured against a reference"
    if metrics and metrics.errors:
        errors = (
            f"relative L2 {metrics.relative_l2:.2e}, RMSE {metrics.rmse:.2e}, largest {metrics.max_error:.2e} "
            f"({metrics.quantity}, float64, on the domain)"
        )
    layers = " -> ".join(map(str, model.layers))
    return f"({', '.join(problem.fields)})({', '.join(problem.axes)}) of {problem.name} as a neural network", {
        "domain": domain,
        "coefficients": f"{coefficients}; {problem.conditions} conditions",
        "network": f"{layers}, {model.network.activation}, {model.parameters} parameters",
        "errors": errors,
        "weights": f"sha256 {weights_hash(model)}",
        "versions": ", ".join(f"{name} {number}" for name, number in library_versions().items()),
    }


def metadata(model: Model, metrics: Metrics | None) -> dict[str, Any]:
    """The description in a form for programs: names, bounds and errors as JSON values."""
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
    """The name of an export, a C identifier; by default derived from the problem's name.

    Raises:
        ValueError: the given name is not an identifier.
    """
    if name is None:
        plain = re.sub(r"\W", "_", model.problem.name, flags=re.ASCII)
        return plain if plain[:1].isalpha() else f"model_{plain}"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"name={name!r} is not a C identifier; use letters, digits and _, starting with a letter")
    return name


def write_all(directory: str | os.PathLike[str], contents: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write all files of an export, or none of them if one fails. The folder is created if necessary.

    Args:
        directory: the folder.
        contents: the bytes of each file, by its name.

    Returns:
        The paths, in the order of ``contents``.

    Raises:
        OSError: the folder cannot be created or written.
    """
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for file, content in contents.items():
                stack.enter_context(atomic(folder / file)).write_bytes(content)
    except OSError as error:
        raise OSError(f"cannot write into {folder}: {error.strerror}; choose another folder") from None
    return tuple(folder / file for file in contents)
