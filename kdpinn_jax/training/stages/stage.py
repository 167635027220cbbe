"""What ``fit`` asks of a stage."""

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jax import Array

from ...base.types import Params, Points
from ...pde.sampling import Sampling
from ..objective import Objective


class Ending(enum.IntEnum):
    """Why a stage ended. An integer inside jit and vmap, words in ``StageReport.why``."""

    RUNNING = 0
    COMPLETED = 1
    CONVERGED = 2
    NON_FINITE = 3
    LINE_SEARCH_FAILED = 4
    TIME_BUDGET = 5
    INTERRUPTED = 6
    STALLED = 7


def check_steps(stage: Any) -> None:
    """What every stage asks of its steps.

    Raises:
        ValueError: fewer than one.
    """
    if stage.steps < 1:
        raise ValueError(f"{type(stage).__name__}: steps={stage.steps} must be at least 1")


#: LLVM's first level of optimisation: 10–40 % less time to compile, and steps as fast (benchmarks/README.md).
QUICK_TO_COMPILE = {"xla_backend_optimization_level": 1}


class Step(NamedTuple):
    """One step of a stage: the new parameters and memory, the mean squares of the terms at the last parameters the step
    saw (the new ones, but for Adam), their weighted sum, and an ``Ending``."""

    params: Params
    memory: Any
    parts: dict[str, Array]
    loss: Array
    ending: Array


@runtime_checkable  # the tests check argument types while they run
class Stage(Protocol):
    """An optimiser with its numbers: a pytree (learning rates dynamic, step counts static) and three pure functions."""

    #: Steps between records of the history, and between two looks at the clock: a second's at most.
    record_every: ClassVar[int]
    #: Options of XLA's compiler, for it to be quick rather than thorough where that costs no time later.
    compiler_options: ClassVar[Mapping[str, bool | int]]

    @property
    def steps(self) -> int:
        """The most steps it takes. Static."""
        ...

    @property
    def sampling(self) -> Sampling:
        """When its points are drawn anew. Static."""
        ...

    def init(self, objective: Objective, params: Params, points: Points) -> Any:
        """The stage's memory before its first step."""
        ...

    def step(self, objective: Objective, params: Params, memory: Any, points: Points) -> Step:
        """One step."""
        ...

    def renew(self, objective: Objective, params: Params, memory: Any, points: Points) -> Any:
        """The memory after points were drawn anew."""
        ...
