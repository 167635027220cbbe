"""Reports of a training: how each stage ended, its history, and warnings derived from both."""

import enum
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from ..base.types import Params


class Status(enum.IntEnum):
    """Why a stage ended. An integer inside jit and vmap; ``StageReport.why`` describes it."""

    RUNNING = 0
    COMPLETED = 1
    CONVERGED = 2
    NON_FINITE = 3
    LINE_SEARCH_FAILED = 4
    TIME_BUDGET = 5
    INTERRUPTED = 6
    STALLED = 7


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "steps",
        "status",
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
    """How a stage ended, and its history. A pytree of arrays: under vmap every member has its own.

    Attributes:
        stage: the name of the stage's class.
        planned: the number of steps it was given.
        steps: the number of steps it took.
        status: a ``Status``; ``why()`` describes it.
        record_steps: (records,) the number of steps taken at each record.
        history: ``{term: (records,)}``, the unweighted mean square of every term at the training points;
            ``"loss"``, their weighted sum; and with an error monitor ``"relative_l2"``.
        fresh_loss: the loss at the end, at evenly drawn points that training did not see; NaN if no step was taken.
        seconds_compiling: wall time spent compiling; NaN inside jit or vmap, where there is no clock.
        seconds: wall time without compiling; NaN inside jit or vmap.
        record_seconds: (records,) wall time since the stage began, without compiling.
    """

    stage: str
    planned: int
    steps: Any
    status: Any
    record_steps: Any
    history: dict[str, Any]
    fresh_loss: Any
    seconds_compiling: Any
    seconds: Any
    record_seconds: Any

    @property
    def failed(self) -> bool:
        """Whether a failure ended the stage, rather than its step count, its time budget or its caller."""
        return Status(int(self.status)) in (Status.NON_FINITE, Status.LINE_SEARCH_FAILED, Status.STALLED)

    def why(self) -> str:
        """Why the stage ended, and after a failure what to try."""
        status, steps = Status(int(self.status)), int(self.steps)
        at = f"at step {steps} of {self.planned}"
        if status is Status.NON_FINITE:
            remedy = (
                "lower the learning rate" if self.stage == "Adam" else "look for √, log or a division in the residual"
            )
            return f"non-finite loss {at}; kept the last finite parameters: {remedy}, or lower the weights"
        if status is Status.LINE_SEARCH_FAILED:
            cause = "before any progress" if steps <= 2 else "no lower loss along the gradient"
            return (
                f"line search failed {at} ({cause}): use float64 (jax_enable_x64), more Adam steps first, or new points"
            )
        if status is Status.STALLED:
            return (
                f"stalled {at}: no step lowers the loss, however small, because the loss has reached rounding error or "
                "a local minimum: use float64 (jax_enable_x64), new points, or another seed"
            )
        return {
            Status.RUNNING: f"still running {at}",
            Status.COMPLETED: f"completed its {steps} steps",
            Status.CONVERGED: f"converged {at}",
            Status.TIME_BUDGET: f"time budget spent {at}",
            Status.INTERRUPTED: f"interrupted {at}",
        }[status]


#: Thresholds of the warnings: the ratio of the loss on fresh points to that on the training points, the factor by
#: which the loss must fall, and the relative error.
OVERFITTED, NO_PROGRESS, WRONG = 100.0, 2.0, 0.1
#: A loss below this fraction of the first one counts as zero.
ROUNDING = 1e-15


def diagnose(stages: Sequence[StageReport]) -> tuple[str, ...]:
    """Warnings about a training, each one line with what to try; empty if nothing looks wrong.

    Args:
        stages: the reports of ``model.training``.
    """
    trained = [report for report in stages if len(report.record_steps)]
    if not trained:
        return ()
    problems, last = [], trained[-1]
    # Stages on other terms, such as the imitation of a teacher, have a different loss.
    comparable = [report for report in trained if report.history.keys() == last.history.keys()]
    loss, first = float(last.history["loss"][-1]), float(comparable[0].history["loss"][0])
    fresh, error = float(last.fresh_loss), float(last.history.get("relative_l2", [np.nan])[-1])
    if fresh > max(OVERFITTED * loss, ROUNDING * first):
        problems.append(
            f"the loss is {fresh:.1e} on fresh points and {loss:.1e} on the training points: the network fits its "
            "points and not the equation between them; redraw the points "
            "(Sampling(every=..., adaptive=('residual',))) or use more of them"
        )
    if sum(len(report.record_steps) for report in comparable) > 1 and loss * NO_PROGRESS > first:
        problems.append(
            f"no progress: the loss fell only from {first:.1e} to {loss:.1e}; try more time, another seed, a wider "
            "network, or more weight on the term that stays large"
        )
    elif error > WRONG:
        problems.append(
            f"the loss fell from {first:.1e} to {loss:.1e}, but the solution differs from the reference by "
            f"{100 * error:.0f} %: it has not converged, or it has converged to a wrong solution (such as a front in "
            "the wrong place); try more time, points where the residual is large (adaptive=('residual',)), hard "
            "conditions (conditions='hard') or larger weights on the conditions, or another seed"
        )
    return tuple(problems)


class Fit(NamedTuple):
    """The result of ``fit``.

    Attributes:
        params: the final parameters.
        stages: one report per stage that began.
    """

    params: Params
    stages: tuple[StageReport, ...]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training.

    Attributes:
        fit: the parameters and reports at the interruption.
        model: the model at the interruption, if a model was being trained.
    """

    def __init__(self, fit: Fit) -> None:
        super().__init__(_why(fit.stages[-1]) if fit.stages else "interrupted before the first step")
        self.fit = fit
        self.model: Any = None


def _why(report: StageReport) -> str:
    """Why a stage ended; for a batch, how far it had come."""
    if np.ndim(report.status) == 0:
        return report.why()
    return f"interrupted at step {int(np.max(report.steps))} of {report.planned}"
