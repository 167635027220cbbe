"""Latency of models by several methods in this process, with their errors and the limit that the core sets."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...base.machine import describe_machine
from ...models.model import Model
from .methods import METHODS, Call, missing
from .rates import Rates, measure_rates, work
from .timing import repeats, time_in_turn

#: The default numbers of points per call.
SIZES = (1, 16, 256, 1024, 10_000, 65_536)
#: Optional packages whose versions are reported.
_OPTIONAL = ("cffi", "onnx", "onnxruntime", "torch")


class Prepared(NamedTuple):
    """Compiled calls, ready to be timed.

    Attributes:
        models: by name.
        calls: ``{points: {(method, model): call}}``.
        errors: ``{(points, method, model): error}``, the largest difference from the model relative to its largest
            value.
        missing: ``{method: reason}`` for methods that cannot be used.
        machine: described before anything was compiled.
    """

    models: Mapping[str, Model]
    calls: dict[int, dict[tuple[str, str], Call]]
    errors: dict[tuple[int, str, str], float]
    missing: dict[str, str]
    machine: dict[str, Any]


def prepare(models: Mapping[str, Model], sizes: Sequence[int], methods: Sequence[str]) -> Prepared:
    """Compile every model by every method for every number of points.

    A method that fails for any of them is left out, and the reason is recorded.

    Args:
        models: by name.
        sizes: numbers of points.
        methods: names from ``METHODS``.
    """
    machine = describe_machine(*_OPTIONAL)
    unusable = {method: f"needs {package}" for method in methods if (package := missing(method))}
    calls: dict[int, dict[tuple[str, str], Call]] = {n: {} for n in sizes}
    errors: dict[tuple[int, str, str], float] = {}
    for n in sizes:
        for name, model in models.items():
            lower, upper = np.asarray(model.problem.lower), np.asarray(model.problem.upper)
            z = np.random.default_rng(0).uniform(lower, upper, (n, len(lower))).astype(np.float32)
            exact = np.asarray(model(z))
            for method in methods:
                if method in unusable:
                    continue
                try:
                    call = METHODS[method](model, z)
                    u = np.asarray(call())
                except Exception as error:  # whatever a package raises, the other methods continue
                    unusable[method] = " ".join(str(error).split())[:200] or type(error).__name__
                    continue
                calls[n][method, name] = call
                errors[n, method, name] = float(np.max(np.abs(u - exact)) / np.max(np.abs(exact)))
    usable = {n: {key: by_key[key] for key in by_key if key[0] not in unusable} for n, by_key in calls.items()}
    return Prepared(models, usable, errors, unusable, machine)


def measure(prepared: Prepared, *, longest: float | None = None, with_limit: bool = True) -> dict[str, Any]:
    """Time prepared calls in turn.

    Args:
        prepared: the calls.
        longest: seconds per number of points after which fewer repeats are made; None for no limit.
        with_limit: whether to measure the rates of the core too, which set a limit for each model.

    Returns:
        The result of ``runs.bench.bench``.
    """
    rates = _rates() if with_limit else None
    results: dict[str, Any] = {}
    for n, calls in prepared.calls.items():
        for (method, name), times in time_in_turn(calls, repeats(n), longest=longest).items():
            entry = times | {"ns_per_point": 1e3 * times["minimum"] / n, "error": prepared.errors[n, method, name]}
            results.setdefault(str(n), {}).setdefault(method, {})[name] = entry
        if with_limit:  # the clock of a shared machine varies, so the rates are measured close to the times
            rates = _fastest(rates, _rates())
    models = {name: _describe(model, rates) for name, model in prepared.models.items()}
    for by_method in results.values():
        for by_model in by_method.values():
            for name, entry in by_model.items():
                limit = models[name]["limit_ns"]
                entry["share_of_limit"] = limit / entry["ns_per_point"] if limit else None
    return {
        "models": models,
        "sizes": results,
        "missing": prepared.missing,
        "rates": rates._asdict() if rates else None,
        "machine": prepared.machine,
    }


def _rates() -> Rates | None:
    try:
        return measure_rates()
    except (ImportError, RuntimeError):  # without cffi or a compiler, only the limit is missing
        return None


def _fastest(a: Rates | None, b: Rates | None) -> Rates | None:
    if a is None or b is None:
        return a or b
    return Rates(min(a.multiply_add, b.multiply_add), min(a.tanh, b.tanh), max(a.bandwidth, b.bandwidth))


def _describe(model: Model, rates: Rates | None) -> dict[str, Any]:
    network_work = work(model)
    measured = model.network.activation in ("tanh", "silu")  # a SiLU takes the time of one tanh
    return {
        "problem": model.problem.name,
        "layers": model.layers,
        "parameters": model.parameters,
        "multiply_adds": network_work.multiply_adds,
        "tanhs": network_work.tanhs,
        "limit_ns": network_work.limit(rates) if rates and measured else None,
    }
