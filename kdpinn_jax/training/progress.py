"""The progress of a training: stage, steps, loss, error, time. A bar on stderr, or one line in a notebook."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from ..models.report import UNLIMITED

#: Seconds between updates of a notebook, whose messages would otherwise slow down short steps.
_PAUSE = 0.25


@runtime_checkable  # the tests check argument types at run time
class Progress(Protocol):
    """A display of a training's progress; a context manager."""

    def __enter__(self) -> "Progress": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, title: str, steps: int) -> None:
        """Show a new stage in place of the previous one."""
        ...

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show the number of steps, the loss and, if it is monitored, the relative L2 error."""
        ...


def progress_display(shown: bool | None, time_budget: float | None) -> Progress:
    """The display of a training's progress.

    Args:
        shown: whether to show it; None shows it on a terminal and in a notebook.
        time_budget: the seconds that it shows as the limit, or None.
    """
    if in_notebook() and shown is not False:
        return _NotebookLine(time_budget)
    return _Bar(sys.stderr.isatty() if shown is None else shown, time_budget)


def in_notebook() -> bool:
    """Whether the output goes to a Jupyter kernel, whose cells show rich output but no terminal's control codes."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


def _numbers(numbers: Mapping[str, float]) -> str:
    error = f", error {numbers['relative_l2']:.2e}" if "relative_l2" in numbers else ""
    return f"loss {numbers['loss']:.2e}{error}"


class _Bar:
    """A progress bar on stderr, which disappears at the end."""

    def __init__(self, shown: bool, time_budget: float | None) -> None:
        from rich.console import Console  # imported late: only a training needs it
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        budget = f" of at most {time_budget:.0f} s" if time_budget else ""
        self._bar = RichProgress(
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

    def __enter__(self) -> "_Bar":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bar.disable:  # before rich 14.3, stop prints an empty line in any case
            self._bar.stop()

    def begin(self, title: str, steps: int) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(title, total=steps if steps < UNLIMITED else None, numbers="")

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=step, numbers=_numbers(numbers))


class _NotebookLine:
    """One line below a notebook's cell, which is replaced while the training runs and stays at its end.

    It needs only IPython, which every Jupyter kernel has; the bar would need ipywidgets.
    """

    def __init__(self, time_budget: float | None) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        self._display: Any = display
        self._handle: Any = None
        self._limit = f" of at most {time_budget:.0f} s" if time_budget else ""
        self._began = self._shown = time.monotonic()
        self._title, self._steps, self._text = "", "", ""

    def __enter__(self) -> "_NotebookLine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show()

    def begin(self, title: str, steps: int) -> None:
        self._title, self._steps = title, f" of {steps}" if steps < UNLIMITED else ""
        self._text = title
        self._show()

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        self._text = f"{self._title}: step {step}{self._steps}, {_numbers(numbers)}"
        if time.monotonic() - self._shown > _PAUSE:
            self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        content = {"text/plain": f"{self._text}, {self._shown - self._began:.0f} s{self._limit}"}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
