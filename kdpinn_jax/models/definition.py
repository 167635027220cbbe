"""What a model file remembers of its problem's definition, which lives in code and may be edited.

The fingerprints of the functions say which of them have changed. They depend on the versions of JAX and Python. Values
of the model at a few points do not; they say whether the weights still mean the same solution.
"""

import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..pde.fingerprint import FUNCTIONS, NoFingerprint
from .model import Model

#: The number of points at which values are remembered.
_POINTS = 3
#: The largest difference of values, as a fraction of the largest value, that other versions and float32 explain.
_TOLERANCE = 1e-3


class Changes(NamedTuple):
    """How the present definition of a problem differs from that of a file.

    Attributes:
        terms: the names of the terms that compute something else; empty if that cannot be compared.
        values: whether the model has other values than when it was saved, since its embedding or its ansatz was edited.
    """

    terms: tuple[str, ...]
    values: bool


def describe_definition(model: Model) -> dict[str, Any]:
    """The definition of a model's problem as plain dicts and numbers, for JSON."""
    return {"fingerprints": _fingerprints(model), "versions": _versions(), "values": _values(model).tolist()}


def find_changes(definition: Mapping[str, Any], model: Model) -> Changes:
    """Compare a stored definition with the present one.

    Args:
        definition: as ``describe_definition`` returned it; empty for a file that has none.
        model: the model read from the file.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: ``definition`` has another structure.
    """
    if not definition:
        return Changes((), False)
    stored = {str(name): str(digest) for name, digest in definition["fingerprints"].items()}
    comparable = bool(stored) and dict(definition["versions"]) == _versions()
    present = _fingerprints(model) if comparable else stored
    changed = [name for name in dict.fromkeys((*stored, *present)) if stored.get(name) != present.get(name)]
    terms = tuple(name for name in changed if name not in FUNCTIONS)
    if comparable and len(terms) == len(changed):
        return Changes(terms, False)
    before, now = np.asarray(definition["values"], float), _values(model)
    if before.shape != now.shape:
        raise ValueError(f"values of shape {before.shape}, expected {now.shape}")
    largest = np.max(np.abs(before), initial=0.0, where=np.isfinite(before))
    return Changes(terms, not np.allclose(now, before, rtol=0, atol=_TOLERANCE * largest, equal_nan=True))


def _fingerprints(model: Model) -> dict[str, str]:
    try:
        return model.problem.fingerprints.labelled()
    except NoFingerprint:
        return {}


def _versions() -> dict[str, str]:
    return {"jax": jax.__version__, "python": platform.python_version()}


def _values(model: Model) -> np.ndarray:
    """The model's values at fixed points inside the domain, (points, m)."""
    lower, upper = (np.asarray(corner) for corner in (model.problem.lower, model.problem.upper))
    # Multiples of different irrational numbers, so that no axis of symmetry is met.
    fractions = np.outer(np.arange(1, _POINTS + 1), np.sqrt(1.5 + np.arange(len(lower)))) % 1.0
    z = jnp.asarray(lower + (upper - lower) * fractions, model.dtype)
    return np.stack([np.asarray(model.field(point), float) for point in z])
