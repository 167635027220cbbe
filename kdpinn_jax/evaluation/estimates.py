"""``ErrorEstimate``: the size of a model's error without the solution, its norm, and its assumptions."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ..pde.problem import Problem

Kind = Literal["bound", "estimate", "unknown"]


@dataclass(frozen=True)
class Norm:
    """The size of a field, computed from samples of the domain.

    Attributes:
        name: a description.
        samples: ``problem -> z (t, n, d)``: t times with n points each, all with equal weight; t = 1 without time.
        size: ``|e| at the samples (t, n) -> norm``.
    """

    name: str
    samples: Callable[[Problem], Float[np.ndarray, "t n d"]]
    size: Callable[[Float[np.ndarray, "t n"]], float]


@dataclass(frozen=True)
class ErrorEstimate:
    """An upper bound on a model's error (``kind="bound"``), its approximate size (``"estimate"``), or neither.

    Attributes:
        value: ‖û − u‖ with the model û and the solution u, over the fields of ``Problem.headline``, in their units;
            NaN if ``kind`` is ``"unknown"``.
        relative: value / ‖û‖ in the same norm.
        norm: the norm, which ``true_error`` accepts.
        kind: a bound follows from a theorem and the assumptions; an estimate is heuristic; ``"unknown"`` means that
            the residuals do not tell the error.
        assumptions: one sentence each; for ``"unknown"``, why there is no number and what to do.
        parts: the contributions to the value.
    """

    value: float
    relative: float
    norm: Norm
    kind: Kind
    assumptions: tuple[str, ...]
    parts: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON; an unknown value is None."""
        return {
            "value": None if math.isnan(self.value) else self.value,
            "relative": None if math.isnan(self.relative) else self.relative,
            "norm": self.norm.name,
            "kind": self.kind,
            "assumptions": list(self.assumptions),
            "parts": dict(self.parts),
        }


class NoBound(ValueError):
    """Raised by ``Problem.bound``, with the reason, for a model that its theorem does not cover."""
