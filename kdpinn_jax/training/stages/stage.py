"""The protocol of a training stage."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jax import Array
from jaxtyping import Float

from ...base.types import Params, Points
from ..objective import Objective
from ..resampling import Sampling

#: LLVM's first optimisation level: programs compile 10–40 % faster, and steps are as fast (benchmarks/README.md).
QUICK_TO_COMPILE = {"xla_backend_optimization_level": 1}


class StageStep(NamedTuple):
    """The result of one step of a stage.

    Attributes:
        params: the new parameters.
        state: the new state of the stage.
        term_losses: the mean square of each term at the last parameters that the step evaluated (the new ones, except
            for Adam).
        loss: their weighted sum.
        status: a ``Status``.
    """

    params: Params
    state: Any
    term_losses: dict[str, Array]
    loss: Float[Array, ""]
    status: Array


@runtime_checkable  # the tests check argument types at run time
class Stage(Protocol):
    """An optimiser with its settings: a pytree with three pure functions.

    Learning rates and similar numbers are dynamic; step counts are static.
    """

    #: Steps between records of the history and checks of the clock; they should take at most a second.
    record_every: ClassVar[int]
    #: Options of XLA's compiler.
    compiler_options: ClassVar[Mapping[str, bool | int]]

    @property
    def steps(self) -> int:
        """The largest number of steps. Static."""
        ...

    @property
    def sampling(self) -> Sampling:
        """When the points are redrawn. Static."""
        ...

    def init(self, objective: Objective, params: Params, points: Points) -> Any:
        """The state before the first step."""
        ...

    def step(self, objective: Objective, params: Params, state: Any, points: Points) -> StageStep:
        """One step."""
        ...

    def renew(self, objective: Objective, params: Params, state: Any, points: Points) -> Any:
        """The state after the points were redrawn."""
        ...


def check_steps(stage: Stage) -> None:
    """Raise ValueError if a stage has fewer than one step."""
    if stage.steps < 1:
        raise ValueError(f"{type(stage).__name__}: steps={stage.steps} must be at least 1")
