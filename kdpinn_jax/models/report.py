"""Reports of a training: how each stage ended, its history, and how each term ended."""

import enum
import functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from ..base.types import Params

#: The steps of a stage that only its time budget, convergence or a stall ends; an int32 holds it.
UNLIMITED = 2_000_000_000


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


class TermReport(NamedTuple):
    """A term at the end of a training.

    Attributes:
        weight: its weight in the loss.
        points: its number of points, ``Term.count``.
        rms: √mean|r|² at evenly drawn points that training did not see.
        scale: the root mean square of the values that a condition prescribes, or of the field that it sets to zero, in
            the units of the residual; NaN for an equation and for measured values.
        measured: whether its rows carry values: data, soft targets, or the state of a previous window.
        adaptive: whether its points concentrated where its residual is large.
    """

    weight: float
    points: int
    rms: float
    scale: float
    measured: bool
    adaptive: bool


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
        "terms",
        "relative_l2",
    ],
    meta_fields=["stage", "planned", "jumps"],
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
        terms: ``{term: TermReport}`` of the last stage of ``train_teacher`` or ``distill``; empty otherwise, and inside
            jit or vmap.
        relative_l2: the relative L2 error at coarse points after that stage; NaN without a reference.
        jumps: warnings about coefficients that jump in one field (``coefficient_jumps``), of that stage as well.
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
    terms: dict[str, TermReport] = field(default_factory=dict)
    relative_l2: Any = np.nan
    jumps: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a failure ended the stage, rather than its step count, its time budget or its caller."""
        return Status(int(self.status)) in (Status.NON_FINITE, Status.LINE_SEARCH_FAILED, Status.STALLED)

    def why(self) -> str:
        """Why the stage ended, and after a failure what to try."""
        status, steps = Status(int(self.status)), int(self.steps)
        at = f"at step {steps}" if self.planned >= UNLIMITED else f"at step {steps} of {self.planned}"
        if status is Status.NON_FINITE:
            # At the first step Adam has not moved yet, so its learning rate is not the cause.
            if self.stage == "Adam" and steps > 1:
                remedy = "lower the learning rate, such as to a tenth"
            else:
                remedy = "look for √, log or a division in the residual"
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
            Status.CONVERGED: f"converged {at}: there is nothing more to gain",
            Status.TIME_BUDGET: f"time budget spent {at}",
            Status.INTERRUPTED: f"interrupted {at}",
        }[status]


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
