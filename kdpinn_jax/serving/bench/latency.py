"""Latency of saved models on one core and one thread: ``python -m kdpinn_jax.serving.bench.latency A.safetensors B.safetensors``.

A number is worth something only if nothing else runs on the core: a child process is pinned to one before JAX starts
(its thread pool then has one thread), dispatches synchronously, and takes its models in turn, call by call.
"""

import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from ...models.files import load
from ..predict import compile_predict

#: Points a call, and calls: a thousand where a call is short enough that its spread matters most.
REPEATS = {1: 1000, 1024: 1000, 10_000: 300}
#: Seconds for all calls of one N, so that a slow machine still answers soon; 100 calls are made whatever they take.
LONGEST = 1.0
FEWEST = 100
#: Calls of one kind in a row.
BURST = 10
#: The first line of a process that measures: the import of JAX, which counts the cores it may use, comes after it.
PIN = "import os, sys; hasattr(os, 'sched_setaffinity') and os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})"
#: What the process that measures waits for.
_GO = "go\n"

_Name = TypeVar("_Name")


def measure(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """Latency of models of the library's own problems, in a process of its own.

    Args:
        paths: model files.

    Returns:
        ``{"models": {name: {"1": {"median", "p95", "p99", "minimum", "repeats"}, "1024": …, "10000": …}}, "pinned",
        "dtype", "load"}``: µs a call of ``compile_predict`` in float32, from numpy points to a finished result. A
        model's name is its file's without folder and ending, or the whole path where two files share it.

    Raises:
        RuntimeError: the process failed; its last line is the message.
    """
    with prepared(paths) as measured:
        return measured()


@contextlib.contextmanager
def prepared(paths: Sequence[str | os.PathLike[str]]) -> Iterator[Callable[[], dict[str, Any]]]:
    """``measure`` in two parts: the process loads and compiles beside its caller's own work, and begins to measure when
    it is called, its caller then waiting. It ends with the block, called or not."""
    program = f"{PIN}; from kdpinn_jax.serving.bench.latency import timed; timed(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", program, *(str(path) for path in paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    ) as child:

        def measured() -> dict[str, Any]:
            out, err = child.communicate(_GO)
            if child.returncode:
                why = (err.strip().splitlines() or ["no message"])[-1]
                raise RuntimeError(f"latency measurement failed: {why}")
            return json.loads(out)

        try:
            yield measured
        finally:
            child.kill()


def time_in_turn(
    calls: Mapping[_Name, Callable[[], Any]], repeats: int, *, longest: float | None = LONGEST
) -> dict[_Name, dict[str, float]]:
    """µs of each call, which returns when its result is there, after a warm-up; the garbage collector waits.

    Calls take turns, BURST of each at a time: the first of them finds the caches as the others left them, the next ones
    as in a loop. After ``longest`` seconds, if any, it ends with fewer repeats.
    """
    for call in calls.values():
        for _ in range(10):
            call()
    seconds: dict[_Name, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + (np.inf if longest is None else longest)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for done in range(0, repeats, BURST):
            for name, call in calls.items():
                for _ in range(min(BURST, repeats - done)):
                    start = time.perf_counter()
                    call()
                    seconds[name].append(time.perf_counter() - start)
            if done >= FEWEST and time.perf_counter() > end:
                break
    finally:
        if collecting:
            gc.enable()
    return {name: _statistics(np.asarray(taken)) for name, taken in seconds.items()}


def _statistics(seconds: np.ndarray) -> dict[str, float]:
    median, p95, p99 = (1e6 * float(q) for q in np.quantile(seconds, [0.5, 0.95, 0.99]))
    return {"median": median, "p95": p95, "p99": p99, "minimum": 1e6 * float(seconds.min()), "repeats": len(seconds)}


def timed(paths: Sequence[str]) -> None:
    """The child's program: it prints what ``measure`` returns, and only there is its process pinned in time. Where its
    caller has gone away before it said go, nothing is measured."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    distinct = len({Path(path).stem for path in paths}) == len(paths)
    models = {Path(path).stem if distinct else str(path): load(path) for path in paths}
    calls: dict[int, dict[str, Callable[[], Any]]] = {n: {} for n in REPEATS}
    for name, model in models.items():
        predict, lower, upper = (
            compile_predict(model, sizes=tuple(REPEATS)),
            np.asarray(model.problem.lower),
            np.asarray(model.problem.upper),
        )
        for n in REPEATS:
            points = np.random.default_rng(0).uniform(lower, upper, (n, len(lower))).astype(np.float32)
            calls[n][name] = lambda predict=predict, points=points: predict(points)
            calls[n][name]()  # compiled before the caller is asked to be quiet
    if sys.stdin.readline() != _GO:  # the caller is gone
        return
    found: dict[str, dict[str, Any]] = {name: {} for name in models}
    for n, repeats in REPEATS.items():
        for name, statistics in time_in_turn(calls[n], repeats).items():
            found[name][str(n)] = statistics
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    print(json.dumps({"models": found, "pinned": cores == 1, "dtype": "float32", "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    try:
        print(json.dumps(measure(sys.argv[1:]), indent=2))
    except RuntimeError as failed:
        sys.exit(f"Error: {failed}")
