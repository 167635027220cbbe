"""How a training ended, in a few lines, for ``repr(model)``."""

import math
from collections.abc import Sequence

import numpy as np

from ..base.types import is_traced
from .diagnose import diagnose
from .report import StageReport

#: The number of stages, and of characters of the reason why one ended, that a summary shows.
_STAGES, _WIDTH = 3, 80


def training_summary(stages: Sequence[StageReport]) -> list[str]:
    """How a training ended, in at most six lines: its stages, its error and the number of its warnings."""
    if not stages:
        return ["  training    none"]
    if np.ndim(stages[-1].status) or is_traced(stages):
        return ["  training    a batch"]
    shown = [f"  training    {report.stage}: {_shortened(report.why())}" for report in stages[-_STAGES:]]
    if len(stages) > _STAGES:
        shown.insert(0, f"  training    {len(stages) - _STAGES} earlier stages")
    last, warnings = stages[-1], diagnose(stages)
    loss = f"loss {float(last.history['loss'][-1]):.1e}" if len(last.record_steps) else "no steps"
    error = f", relative L2 error {last.relative_l2:.1e}" if math.isfinite(last.relative_l2) else ""
    shown.append(f"  result      {loss}{error}")
    return [*shown, f"  warnings    {len(warnings)}{', see kd.diagnose(model.training)' if warnings else ''}"]


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
