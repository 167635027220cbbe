"""Timing of calls that take turns."""

import gc
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

#: The number of repeats for calls of up to ``SHORT`` points, whose spread matters most, and for longer calls.
SHORT, REPEATS_SHORT, REPEATS_LONG = 1024, 1000, 300
#: The smallest number of repeats, even if the time is limited.
FEWEST = 100
#: Consecutive calls of one kind.
BURST = 10

_Name = TypeVar("_Name")


def repeats(points: int) -> int:
    """The number of repeats for calls of this many points."""
    return REPEATS_SHORT if points <= SHORT else REPEATS_LONG


def time_in_turn(
    calls: Mapping[_Name, Callable[[], object]], repeats: int, *, longest: float | None = None
) -> dict[_Name, dict[str, float]]:
    """Time several calls after a warm-up, with the garbage collector off.

    The calls take turns of ``BURST`` repeats: the first finds the caches as the other calls left them, and the rest run
    as in a loop.

    Args:
        calls: by name; each must return when its result is complete.
        repeats: the number of repeats of each call.
        longest: seconds after which fewer repeats are made; None for no limit.

    Returns:
        ``{name: {"median", "p95", "p99", "minimum", "repeats"}}`` in µs per call.
    """
    for call in calls.values():
        for _ in range(10):
            call()
    seconds: dict[_Name, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + (np.inf if longest is None else longest)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for first in range(0, repeats, BURST):
            for name, call in calls.items():
                for _ in range(min(BURST, repeats - first)):
                    start = time.perf_counter()
                    call()
                    seconds[name].append(time.perf_counter() - start)
            if first >= FEWEST and time.perf_counter() > end:
                break
    finally:
        if collecting:
            gc.enable()
    return {name: _statistics(np.asarray(times)) for name, times in seconds.items()}


def _statistics(seconds: np.ndarray) -> dict[str, float]:
    median, p95, p99 = (1e6 * float(q) for q in np.quantile(seconds, [0.5, 0.95, 0.99]))
    return {"median": median, "p95": p95, "p99": p99, "minimum": 1e6 * float(seconds.min()), "repeats": len(seconds)}
