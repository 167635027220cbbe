"""``bench``: latency of models by every method this machine has, taken in turn on one core."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...models.files import library_versions, load
from ...models.model import Model
from .latency import PIN, time_in_turn
from .methods import METHODS, missing
from .rates import Rates, measured_rates, work

#: Points a call, and calls: a thousand where a call is short enough that its spread matters most.
SIZES = {1: 1000, 16: 1000, 256: 1000, 1024: 1000, 10_000: 300, 65_536: 300}
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
_OPTIONAL = ("cffi", "onnx", "onnxruntime", "torch")


def bench(
    paths: Sequence[str | os.PathLike[str]],
    *,
    sizes: Sequence[int] = tuple(SIZES),
    methods: Sequence[str] = tuple(METHODS),
) -> dict[str, Any]:
    """Latency of models of the library's own problems, in a process of its own on one core with one thread.

    Args:
        paths: model files.
        sizes: points a call.
        methods: of ``METHODS``; one whose package or compiler is missing is named with what it lacks.

    Returns:
        ``{"models": {name: {"problem", "layers", "parameters", "multiply_adds", "tanhs", "limit_ns"}}, "sizes": {"1":
        {method: {name: {"minimum", "median", "p95", "p99", "repeats", "ns_a_point", "share_of_limit", "error"}}}},
        "missing": {method: why}, "rates", "machine"}``: µs a call, in float32, from NumPy points to a finished result.
        ``share_of_limit`` is the limit over the minimum's ns a point, ``error`` the largest difference to float64 over
        the largest value; both are null where they are not known.

    Raises:
        RuntimeError: the process failed; its last line is the message.
    """
    # The affinity is set before the import of JAX, which counts the cores it may use.
    program = f"{PIN}; from kdpinn_jax.serving.bench.measure import child; child(sys.argv[1])"
    request = json.dumps({"paths": list(map(str, paths)), "sizes": list(sizes), "methods": list(methods)})
    done = subprocess.run(
        [sys.executable, "-c", program, request], capture_output=True, text=True, env=os.environ | _THREADS
    )
    if done.returncode:
        raise RuntimeError(f"benchmark failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def child(request: str) -> None:
    """The child's program: it prints what ``bench`` returns, on its last line."""
    asked = json.loads(request)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_enable_x64", True)  # what errors are measured against
    distinct = len({Path(path).stem for path in asked["paths"]}) == len(asked["paths"])
    models = {Path(path).stem if distinct else path: load(path) for path in asked["paths"]}
    print(json.dumps(measured(models, asked["sizes"], asked["methods"])))


def measured(models: Mapping[str, Model], sizes: Sequence[int], methods: Sequence[str]) -> dict[str, Any]:
    """What ``bench`` returns, measured in this process."""
    about_machine = machine()
    lacking = {method: f"needs {package}" for method in methods if (package := missing(method))}
    rates = _rates()
    found: dict[str, Any] = {}
    for n in sizes:
        calls: dict[tuple[str, str], Callable[[], Any]] = {}
        errors: dict[tuple[str, str], float] = {}
        for name, model in models.items():
            lower, upper = np.asarray(model.problem.lower), np.asarray(model.problem.upper)
            z = np.random.default_rng(0).uniform(lower, upper, (n, len(lower))).astype(np.float32)
            exact = np.asarray(model(z))
            for method in methods:
                if method not in lacking:
                    try:
                        calls[method, name] = METHODS[method](model, z)
                        u = np.asarray(calls[method, name]())
                        errors[method, name] = float(np.max(np.abs(u - exact)) / np.max(np.abs(exact)))
                    except Exception as error:  # of whatever package: the other methods go on
                        lacking[method] = " ".join(str(error).split())[:200] or type(error).__name__
        calls = {key: call for key, call in calls.items() if key[0] not in lacking}
        for (method, name), t in time_in_turn(calls, SIZES.get(n, 1000 if n <= 1024 else 300), longest=None).items():
            statistics = t | {"ns_a_point": 1e3 * t["minimum"] / n, "error": errors[method, name]}
            found.setdefault(str(n), {}).setdefault(method, {})[name] = statistics
        rates = _better(rates, _rates())  # beside what they are compared with: the clock of a shared machine varies
    of_models = {name: _about(model, rates) for name, model in models.items()}
    for of_methods in found.values():
        for of_method in of_methods.values():
            for name, t in of_method.items():
                limit = of_models[name]["limit_ns"]
                t["share_of_limit"] = limit / t["ns_a_point"] if limit else None
    return {
        "models": of_models,
        "sizes": found,
        "missing": lacking,
        "rates": rates._asdict() if rates else None,
        "machine": about_machine,
    }


def _rates() -> Rates | None:
    try:
        return measured_rates()
    except (ImportError, RuntimeError):  # no compiler: times remain, without the limit beside them
        return None


def _better(a: Rates | None, b: Rates | None) -> Rates | None:
    if a is None or b is None:
        return a or b
    return Rates(min(a.multiply_add, b.multiply_add), min(a.tanh, b.tanh), max(a.bandwidth, b.bandwidth))


def _about(model: Model, rates: Rates | None) -> dict[str, Any]:
    done = work(model)
    known = model.network.activation in ("tanh", "silu")  # whose cost is that of the tanh measured
    return {
        "problem": model.problem.name,
        "layers": model.layers,
        "parameters": model.parameters,
        "multiply_adds": done.multiply_adds,
        "tanhs": done.tanhs,
        "limit_ns": done.limit(rates) if rates and known else None,
    }


def machine() -> dict[str, Any]:
    """What a time depends on: processor, cores of this process, load before the measurement, versions."""
    versions = library_versions()
    for name in _OPTIONAL:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": versions,
    }
