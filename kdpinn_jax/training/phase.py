"""``Phase``: the unit of a training plan."""

from typing import NamedTuple

from jax import Array

from .objective import Objective
from .stages import Stage


class Phase(NamedTuple):
    """Consecutive stages on one objective.

    Attributes:
        objective: the objective that the stages minimise.
        stages: the stages, in order.
        key: a JAX random key for their points.
        until: the fraction of the time budget at which the phase ends.
    """

    objective: Objective
    stages: tuple[Stage, ...]
    key: Array
    until: float
