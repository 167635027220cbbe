"""What is said of a model's error without knowing the solution: a number, the norm it is in, and what it rests on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ..pde.problem import Problem

Kind = Literal["bound", "estimate"]


@dataclass(frozen=True)
class Norm:
    """A size of a field, taken over samples of the domain.

    Attributes:
        name: what it is called.
        samples: ``problem -> z (t, n, d)``: t times with n points each, which count alike; without time, t = 1.
        size: lengths |e| at the samples (t, n) -> the norm.
    """

    name: str
    samples: Callable[[Problem], Float[np.ndarray, "t n d"]]
    size: Callable[[Float[np.ndarray, "t n"]], float]


@dataclass(frozen=True)
class ErrorEstimate:
    """How large a model's error is at most (``kind="bound"``) or about (``kind="estimate"``).

    Attributes:
        value: of ‖û − u‖, û the model and u the solution, of the fields ``Problem.headline`` names, in their units.
        relative: value / ‖û‖ in the same norm.
        norm: which norm; ``true_error`` takes it.
        kind: a bound follows from a theorem and the assumptions, an estimate is a guess that has been tested.
        assumptions: what it rests on, a sentence each.
        parts: the numbers it is made of.
    """

    value: float
    relative: float
    norm: Norm
    kind: Kind
    assumptions: tuple[str, ...]
    parts: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return {
            "value": self.value,
            "relative": self.relative,
            "norm": self.norm.name,
            "kind": self.kind,
            "assumptions": list(self.assumptions),
            "parts": dict(self.parts),
        }


class NoBound(ValueError):
    """Raised by ``Problem.bound`` for a model its theorem does not cover, with the reason."""
