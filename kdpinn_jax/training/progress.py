"""The progress bar of a training, on stderr: stage, steps, loss, error, time left."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ..models.report import UNLIMITED


class Progress:
    """A progress bar.

    Args:
        shown: whether to show it; None shows it on a terminal only.
        time_budget: the seconds that it shows as the limit, or None.
    """

    def __init__(self, shown: bool | None, time_budget: float | None) -> None:
        from rich.console import Console  # imported late: only a training needs it
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        shown = sys.stderr.isatty() if shown is None else shown
        budget = f" of at most {time_budget:.0f} s" if time_budget else ""
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn(f"elapsed{budget},"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            disable=not shown,
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, title: str, steps: int) -> None:
        """Show a new stage in place of the previous one."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(title, total=steps if steps < UNLIMITED else None, numbers="")

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show the number of steps, the loss and, if it is monitored, the relative L2 error."""
        error = f", error {numbers['relative_l2']:.2e}" if "relative_l2" in numbers else ""
        if self._task is not None:
            self._bar.update(self._task, completed=step, numbers=f"loss {numbers['loss']:.2e}{error}")
