"""What a training says of itself: how each stage went, and what an interruption leaves."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from ..base.types import Params
from ..training.stages import Ending


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "steps",
        "ending",
        "record_steps",
        "history",
        "fresh_loss",
        "seconds_compiling",
        "seconds",
        "record_seconds",
    ],
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
        fresh_loss: the loss at the end at points training did not see, drawn evenly; NaN where nothing was trained.
        seconds_compiling, seconds: wall time; NaN inside jit or vmap, where there is no clock.
        record_seconds: (records,) wall time since the stage began, compiling left out.
    """

    stage: str
    planned: int
    steps: Any
    ending: Any
    record_steps: Any
    history: dict[str, Any]
    fresh_loss: Any
    seconds_compiling: Any
    seconds: Any
    record_seconds: Any

    @property
    def went_wrong(self) -> bool:
        """Whether the stage ended by a failure, and not by its steps, its budget or its caller."""
        return Ending(int(self.ending)) in (Ending.NON_FINITE, Ending.LINE_SEARCH_FAILED, Ending.STALLED)

    def why(self) -> str:
        """Why the stage ended, in words, with what to try where something went wrong."""
        ending, steps = Ending(int(self.ending)), int(self.steps)
        at = f"at step {steps} of {self.planned}"
        if ending is Ending.NON_FINITE:
            cure = (
                "lower the learning rate" if self.stage == "Adam" else "look for √, log or a division in the residual"
            )
            return f"non-finite loss {at}; kept the last finite parameters: {cure}, or lower the weights"
        if ending is Ending.LINE_SEARCH_FAILED:
            cause = "before any progress" if steps <= 2 else "no lower loss along the gradient"
            return (
                f"line search failed {at} ({cause}): use float64 (jax_enable_x64), more Adam steps first, or new points"
            )
        if ending is Ending.STALLED:
            return (
                f"stalled {at}: no step lowers the loss, however small: it is at this precision's rounding, or at a "
                "local minimum: use float64 (jax_enable_x64), new points, or another seed"
            )
        return {
            Ending.RUNNING: f"still running {at}",
            Ending.COMPLETED: f"completed its {steps} steps",
            Ending.CONVERGED: f"converged {at}",
            Ending.TIME_BUDGET: f"time budget spent {at}",
            Ending.INTERRUPTED: f"interrupted {at}",
        }[ending]


#: What counts as suspicious: a loss on fresh points this many times that at the training points, a loss that fell by
#: less than this factor, an error this large.
OVERFITTED, NO_PROGRESS, WRONG = 100.0, 2.0, 0.1
#: A loss below this share of the first is as good as zero, whatever its ratio to another.
ROUNDING = 1e-15


def warnings(stages: Sequence[StageReport]) -> tuple[str, ...]:
    """What looks wrong in a training, a line each in plain words with what to try; empty where nothing does."""
    trained = [report for report in stages if len(report.record_steps)]
    if not trained:
        return ()
    found, last = [], trained[-1]
    # Stages on other terms, such as an imitation of the teacher, have another loss.
    alike = [report for report in trained if report.history.keys() == last.history.keys()]
    loss, first = float(last.history["loss"][-1]), float(alike[0].history["loss"][0])
    fresh, error = float(last.fresh_loss), float(last.history.get("relative_l2", [np.nan])[-1])
    if fresh > max(OVERFITTED * loss, ROUNDING * first):
        found.append(
            f"the loss is {fresh:.1e} on fresh points and {loss:.1e} on the training points: it fits its points, not "
            "the equation between them; draw points anew (Sampling(every=...), adaptive=('residual',)) or take more"
        )
    if sum(len(report.record_steps) for report in alike) > 1 and loss * NO_PROGRESS > first:
        found.append(
            f"the loss fell only from {first:.1e} to {loss:.1e}: no progress; give it more time, another seed, a wider "
            "network, or more weight to the term that stays large"
        )
    elif error > WRONG:
        found.append(
            f"the loss fell from {first:.1e} to {loss:.1e} and yet the solution is {100 * error:.0f} % off the "
            "reference: not there yet, or stuck in a wrong solution (a front in the wrong place); give it time, draw "
            "points where the residual is large (adaptive=('residual',)), build the conditions in "
            "(conditions='hard') or weigh them more, or take another seed"
        )
    return tuple(found)


class Fit(NamedTuple):
    """What ``fit`` returns: the parameters, and a report of each stage that began."""

    params: Params
    stages: tuple[StageReport, ...]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training. ``fit`` holds what there is; ``model`` too where a model was being trained."""

    def __init__(self, fit: Fit) -> None:
        super().__init__(_why(fit.stages[-1]) if fit.stages else "interrupted before the first step")
        self.fit = fit
        self.model: Any = None


def _why(report: StageReport) -> str:
    """Why a stage ended; of a batch, how far it had come."""
    if np.ndim(report.ending) == 0:
        return report.why()
    return f"interrupted at step {int(np.max(report.steps))} of {report.planned}"
