"""What a training says of itself: how each stage went, and what an interruption leaves."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from ._stages import Ending
from ._types import Params


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["steps", "ending", "record_steps", "history", "seconds_compiling", "seconds", "record_seconds"],
    meta_fields=["stage", "planned"],
)
@dataclass(frozen=True)
class StageReport:
    """How a stage went. A pytree of arrays: under vmap every member has its own.

    Attributes:
        stage: its class's name. planned: the steps it was given. steps: the steps it took.
        ending: an ``Ending``; ``why()`` puts it in words.
        record_steps: (records,) the step after which each record was taken.
        history: ``{term: (records,)}``, the unweighted mean square of every term at the training points;
            ``"loss"``, their weighted sum; with an error monitor also ``"relative_l2"``.
        seconds_compiling, seconds: wall time; NaN inside jit or vmap, where there is no clock.
        record_seconds: (records,) wall time since the stage began, compiling left out.
    """

    stage: str
    planned: int
    steps: Any
    ending: Any
    record_steps: Any
    history: dict[str, Any]
    seconds_compiling: Any
    seconds: Any
    record_seconds: Any

    def why(self) -> str:
        """Why the stage ended, in words, with what to try where something went wrong."""
        ending, steps = Ending(int(self.ending)), int(self.steps)
        at = f"at step {steps} of {self.planned}"
        if ending is Ending.NON_FINITE:
            return f"non-finite loss {at}; kept the last finite parameters: lower the learning rate or the weights"
        if ending is Ending.LINE_SEARCH_FAILED:
            cause = "before any progress" if steps <= 2 else "no lower loss along the gradient"
            return (
                f"line search failed {at} ({cause}): use float64 (jax_enable_x64), more Adam steps first, or new points"
            )
        return {
            Ending.RUNNING: f"still running {at}",
            Ending.COMPLETED: f"completed its {steps} steps",
            Ending.CONVERGED: f"converged {at}",
            Ending.TIME_BUDGET: f"time budget spent {at}",
            Ending.INTERRUPTED: f"interrupted {at}",
        }[ending]


class Fit(NamedTuple):
    """What ``fit`` returns: the parameters, and a report of each stage that began."""

    params: Params
    stages: tuple[StageReport, ...]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training. ``fit`` holds what there is; ``model`` too where a model was being trained."""

    def __init__(self, fit: Fit) -> None:
        super().__init__(fit.stages[-1].why() if fit.stages else "interrupted before the first step")
        self.fit = fit
        self.model: Any = None
