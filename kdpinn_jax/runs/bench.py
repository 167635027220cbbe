"""Latency of saved models, measured in a separate process on one core with one thread.

The process is pinned to one core before JAX starts, so that JAX's thread pool has one thread, and JAX dispatches
synchronously. Times are only meaningful if nothing else runs on that core.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..base.problem_file import ProblemFile, parse_problem_file
from ..models.files import unique_names
from ..problems.from_file import problems_from_files
from ..problems.load import load_among
from ..serving.bench.measure import SIZES, measure, prepare
from ..serving.bench.methods import METHODS

#: For the latency of a run: points per call, and the longest time for all calls of one size, in seconds.
RUN_SIZES, LONGEST = (1, 1024, 10_000), 1.0
#: The first statement of the process. It precedes the import of JAX, which counts the cores that it may use.
_PIN = "import os, sys; hasattr(os, 'sched_setaffinity') and os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
#: The line on stdin that starts the measurement.
_GO = "go\n"


def bench(
    paths: Sequence[str | os.PathLike[str]],
    *,
    sizes: Sequence[int] = SIZES,
    methods: Sequence[str] = tuple(METHODS),
    problems: Sequence[ProblemFile | str] = (),
) -> dict[str, Any]:
    """Measure the latency of saved models by several methods in turn, on one core with one thread.

    Args:
        paths: model files.
        sizes: points per call.
        methods: names from ``METHODS``; a method whose package or compiler is missing is reported as missing.
        problems: the problems of the models that are not shipped with the library, as ``"FILE.py:NAME"``. The process
            executes these files.

    Returns:
        - ``"models"``: ``{name: {"problem", "layers", "parameters", "multiply_adds", "tanhs", "limit_ns"}}``.
        - ``"sizes"``: ``{"1": {method: {name: {"minimum", "median", "p95", "p99", "repeats", "ns_per_point",
          "share_of_limit", "error"}}}}``. Times are µs per call, in float32, from NumPy points to a complete result.
          ``share_of_limit`` is the limit divided by the minimum's ns per point, or None if the limit is unknown;
          ``error`` is the largest difference from float64, relative to the largest value.
        - ``"missing"``: ``{method: reason}``.
        - ``"rates"`` and ``"machine"``: the measured rates of the core (None without a compiler), and the machine.

    Raises:
        ValueError: an entry of ``problems`` has another form.
        RuntimeError: the process failed; the message is its last line.
    """
    sources = [parse_problem_file(problem) if isinstance(problem, str) else problem for problem in problems]
    request = {"paths": list(map(str, paths)), "sizes": list(sizes), "methods": list(methods), "problems": sources}
    with _pinned_process(request) as take_measurement:
        return take_measurement()


@contextlib.contextmanager
def prepared_latency(
    paths: Sequence[str | os.PathLike[str]], problems: Sequence[ProblemFile] = ()
) -> Iterator[Callable[[], dict[str, Any]]]:
    """The latency of ``compile_predict`` for result.json, prepared during the block and measured on demand.

    The process loads and compiles while the block runs. Calling the yielded function starts the measurement and waits
    for it. The process ends with the block in any case.

    Args:
        paths: model files.
        problems: as in ``bench``.

    Yields:
        A function that returns ``{"models": {name: {"1": {"median", "p95", "p99", "minimum", "repeats"}, "1024": …,
        "10000": …}}, "pinned", "dtype", "load"}`` in µs per call, and raises RuntimeError if the process failed.
    """
    method = "compile_predict"
    request = {"paths": list(map(str, paths)), "sizes": RUN_SIZES, "methods": [method], "longest": LONGEST}
    request |= {"problems": list(problems)}
    with _pinned_process(request) as take_measurement:

        def latency() -> dict[str, Any]:
            result = take_measurement()
            if method in result["missing"]:
                raise RuntimeError(f"latency measurement failed: {result['missing'][method]}")
            names = ("median", "p95", "p99", "minimum", "repeats")
            models = {
                name: {n: {key: times[method][name][key] for key in names} for n, times in result["sizes"].items()}
                for name in result["models"]
            }
            machine = result["machine"]
            return {"models": models, "pinned": machine["cores"] == 1, "dtype": "float32", "load": machine["load"]}

        yield latency


@contextlib.contextmanager
def _pinned_process(request: dict[str, Any]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Start the process; yield a function that starts the measurement and returns its result."""
    program = f"{_PIN}; from {__name__} import child; child(sys.argv[1])"
    with subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(request)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | _ONE_THREAD,
    ) as process:

        def take_measurement() -> dict[str, Any]:
            stdout, stderr = process.communicate(_GO)
            if process.returncode:
                message = (stderr.strip().splitlines() or ["no message"])[-1]
                raise RuntimeError(f"latency measurement failed: {message}")
            return json.loads(stdout.splitlines()[-1])

        try:
            yield take_measurement
        finally:
            process.kill()


def child(request: str) -> None:
    """The program of the process: compile, wait for the start, and print the measurement as the last line.

    If the parent process has ended, nothing is measured.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_enable_x64", True)  # errors are measured against float64
    options = json.loads(request)
    paths = [Path(path) for path in options["paths"]]
    problems = problems_from_files([ProblemFile(*source) for source in options["problems"]])
    models = {name: load_among(path, problems) for name, path in unique_names(paths).items()}
    prepared = prepare(models, options["sizes"], options["methods"])
    if sys.stdin.readline() == _GO:
        longest = options.get("longest")
        print(json.dumps(measure(prepared, longest=longest, with_limit=longest is None)))
