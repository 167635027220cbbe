"""Prices and Greeks of a million options by a student of the Black–Scholes family, compared with the closed form.

    kdpinn run black_scholes --range sigma=0.1,0.5 --range r=0,0.1 --preset best --time-budget 480 --out runs/options
    kdpinn run burgers --range nu=0.005,0.05 --preset best --time-budget 480 --out runs/waves
    python benchmarks/greeks.py runs/options runs/waves --write

A million options are drawn uniformly over t ∈ (0, 1), S ∈ (0, 3), σ ∈ (0.1, 0.5), r ∈ (0, 0.1), and none is left out.
Errors are also given without the options near the kink, for which τ = 1 − t is below a week and S is within 4σ√τ of the
discounted strike. Errors are relative to the closed form in float64. Predictions are in float32, in blocks of 16,384
options, by one thread on one pinned core; the methods are timed in turn, and rates are those of the median time.
``--write`` puts the tables into docs/parametric.md. ``--table-only`` measures nothing and uses the stored result.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr as jax_ndtr
from scipy.special import ndtr as scipy_ndtr
from studies._tables import put

import kdpinn_jax as kd
from kdpinn_jax.base.machine import describe_machine
from kdpinn_jax.base.storage import write_json
from kdpinn_jax.serving.predict import LARGEST

HERE = Path(__file__).parent
RESULT, PAGE = HERE / "results" / "parametric.json", HERE.parent / "docs" / "parametric.md"
#: ``{derivative as compile_predict names it: its name in finance}``.
GREEKS = {"V": "price", "V_S": "delta", "V_SS": "gamma", "V_sigma": "vega", "V_t": "theta", "V_r": "rho"}
OPTIONS, ROUNDS = 1_000_000, 7
WEEK = 7 / 365

#: Options (n, 4) -> one column for the price and for each Greek.
Predict = Callable[[np.ndarray], Sequence[np.ndarray] | np.ndarray]


def closed_form(xp: Any, ndtr: Callable[[Any], Any], z: Any, greeks: bool) -> list[Any]:
    """The price and, if ``greeks``, its derivatives, computed with the array module ``xp``.

    Δ = Φ(d₁), Γ = φ(d₁)/(Sσ√τ), vega = S φ(d₁) √τ, Θ = −½ Γ S² σ² − r K e^{−rτ} Φ(d₂), ρ = K τ e^{−rτ} Φ(d₂)
    """
    t, s, sigma, r = z[:, 0], z[:, 1], z[:, 2], z[:, 3]
    tau = 1 - t
    root = xp.sqrt(tau)
    width = sigma * root
    d1 = (xp.log(s) + (r + 0.5 * sigma * sigma) * tau) / width
    delta, strike = ndtr(d1), xp.exp(-r * tau) * ndtr(d1 - width)
    price = s * delta - strike
    if not greeks:
        return [price]
    density = xp.exp(-0.5 * d1 * d1) * float(1 / np.sqrt(2 * np.pi))
    vega = s * density * root
    return [price, delta, density / (s * width), vega, -0.5 * vega * sigma / tau - r * strike, tau * strike]


def by_numpy(greeks: bool) -> Predict:
    return lambda z: closed_form(np, scipy_ndtr, z, greeks)


def by_jax(greeks: bool) -> Predict:
    compiled = jax.jit(lambda z: closed_form(jnp, jax_ndtr, z, greeks))
    return lambda z: [np.asarray(column) for column in compiled(z)]


def by_student(model: kd.Model, names: Sequence[str], dtype: Any = np.float32) -> Predict:
    predict = kd.compile_predict(model, dtype=dtype, derivatives=tuple(names))
    return lambda z: predict(z).T


def in_blocks(predict: Predict, z: np.ndarray) -> list[Sequence[np.ndarray] | np.ndarray]:
    return [predict(z[i : i + LARGEST]) for i in range(0, len(z), LARGEST)]


def values(predict: Predict, z: np.ndarray) -> np.ndarray:
    return np.concatenate([np.stack(list(block), axis=1) for block in in_blocks(predict, z)])


def draw_options(problem: kd.Problem) -> np.ndarray:
    """(n, 4) options strictly inside the domain, in float32, so that every method gets the same numbers."""
    unit = np.random.default_rng(0).uniform(size=(OPTIONS, 4)).astype(np.float32)
    unit = np.clip(unit, 1e-6, 1 - 1e-6)
    lower, upper = (np.asarray(ends, np.float32) for ends in (problem.lower, problem.upper))
    return lower + (upper - lower) * unit


def is_near_kink(z: np.ndarray) -> np.ndarray:
    """(n,) booleans: maturity within a week and S within 4σ√τ of the discounted strike."""
    t, s, sigma, r = z.astype(np.float64).T
    tau = 1 - t
    return (tau < WEEK) & (np.abs(s - np.exp(-r * tau)) < 4 * sigma * np.sqrt(tau))


def errors(predicted: np.ndarray, exact: np.ndarray) -> dict[str, dict[str, float]]:
    """For each column the largest and the RMS error, and the RMS error divided by the RMS value."""
    difference = predicted.astype(np.float64) - exact
    rms = lambda x: np.sqrt(np.mean(x**2, axis=0))
    columns = zip(np.abs(difference).max(axis=0), rms(difference), rms(difference) / rms(exact), strict=True)
    return {
        greek: {"max": float(largest), "rms": float(root), "relative_l2": float(relative)}
        for greek, (largest, root, relative) in zip(GREEKS.values(), columns, strict=True)
    }


def measure_options(model: kd.Model) -> dict[str, Any]:
    """Errors and rates of the student and of the closed form."""
    z = draw_options(model.problem)
    methods = {
        ("student", "price"): by_student(model, ["V"]),
        ("student", "price and Greeks"): by_student(model, list(GREEKS)),
        ("closed form, JAX", "price"): by_jax(False),
        ("closed form, JAX", "price and Greeks"): by_jax(True),
        ("closed form, SciPy", "price"): by_numpy(False),
        ("closed form, SciPy", "price and Greeks"): by_numpy(True),
    }
    kink = is_near_kink(z)
    exact = values(by_numpy(True), z.astype(np.float64))
    predicted = {name: values(predict, z) for (name, columns), predict in methods.items() if columns != "price"}
    with jax.enable_x64(True):
        predicted_in_float64 = values(by_student(model, list(GREEKS), np.float64), z.astype(np.float64))
    seconds: dict[tuple[str, str], list[float]] = {method: [] for method in methods}
    for turn in range(ROUNDS + 1):
        for method, predict in methods.items():
            start = time.perf_counter()
            in_blocks(predict, z)
            if turn:  # the first turn compiles the last block, which is smaller
                seconds[method].append(time.perf_counter() - start)
    rates = {method: OPTIONS / float(np.median(times)) for method, times in seconds.items()}
    return {
        "options": OPTIONS,
        "at_the_kink": int(kink.sum()),
        "errors": {
            name: {"all": errors(u, exact), "away": errors(u[~kink], exact[~kink])}
            for name, u in {**predicted, "student in float64": predicted_in_float64}.items()
        },
        "options_per_second": {
            name: {columns: rate for (method, columns), rate in rates.items() if method == name} for name in predicted
        },
    }


def measure_family(folder: Path) -> dict[str, Any]:
    """Errors of teacher and student over the ranges and for the worst members, with layers, steps and training time."""
    run = json.loads((folder / "result.json").read_text())
    roles = {}
    for role in ("teacher", "student"):
        metrics = kd.evaluate(kd.load(folder / f"{role}.safetensors"))
        describe = lambda member: member.coefficients | {"relative_l2": member.errors.relative_l2}
        roles[role] = {
            "layers": run[role]["layers"],
            "seconds": run[role]["seconds_compiling"] + run[role]["seconds_training"],
            "steps": [stage["steps"] for stage in run[role]["stages"]],
            "relative_l2": metrics.relative_l2,
            "max_error": metrics.max_error,
            "worst": describe(metrics.members[0]),
            "worst_corner": describe(metrics.corners[0]),
            "best": describe(metrics.members[-1]),
        }
    return {"problem": run["problem"], "ranges": run["ranges"], **roles}


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """``{marker: Markdown}``: the families, the errors of the Greeks, and the rates."""
    coefficients = lambda member: ", ".join(f"{k} = {v:.3g}" for k, v in member.items() if k != "relative_l2")
    errors_head = ("relative L2", "largest error", "best member", "worst member", "worst corner")
    head = ("family", "network", "training time, s", *errors_head)
    families = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for family in result["families"]:
        ranges = ", ".join(f"{name} {low:g}–{high:g}" for name, (low, high) in family["ranges"].items())
        for role in ("teacher", "student"):
            model = family[role]
            members = " | ".join(
                f"{model[which]['relative_l2']:.1e} ({coefficients(model[which])})"
                for which in ("best", "worst", "worst_corner")
            )
            layers = " → ".join(map(str, model["layers"]))
            families.append(
                f"| `{family['problem']}`, {ranges} | {role}, {layers} | {model['seconds']:.0f} | "
                f"{model['relative_l2']:.1e} | {model['max_error']:.1e} | {members} |"
            )
    greeks = ["| method | options | error | " + " | ".join(GREEKS.values()) + " |", "|---" * (3 + len(GREEKS)) + "|"]
    prices = result["prices"]
    for method, subsets in prices["errors"].items():
        for subset, title in (("all", "all"), ("away", "without the kink"))[: 2 if method == "student" else 1]:
            for kind, label in (("relative_l2", "relative L2"), ("rms", "RMS"), ("max", "largest")):
                cells = " | ".join(f"{subsets[subset][greek][kind]:.1e}" for greek in GREEKS.values())
                greeks.append(f"| {method} | {title} | {label} | {cells} |")
    rates = ["| method | price | price and Greeks |", "|---|---|---|"]
    for method, rate in prices["options_per_second"].items():
        rates.append(f"| {method} | {1e-6 * rate['price']:.1f} | {1e-6 * rate['price and Greeks']:.1f} |")
    return {"families": "\n".join(families), "greeks": "\n".join(greeks), "rates": "\n".join(rates)}


def on_one_core() -> None:
    """Start this program again on one core and with one thread: libraries count the cores when they are imported."""
    if os.environ.get("GREEKS_PINNED"):
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GREEKS_PINNED"), "1")
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | one_thread | {"JAX_PLATFORMS": "cpu"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folders", nargs="*", type=Path, help="folders written by kdpinn run; the first must be of black_scholes"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/parametric.md")
    parser.add_argument("--table-only", action="store_true", help="measure nothing; use the stored result")
    options = parser.parse_args()
    if not options.table_only:
        on_one_core()
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        with jax.enable_x64(True):
            families = [measure_family(folder) for folder in options.folders]
            student = kd.load(options.folders[0] / "student.safetensors")
        machine = describe_machine()
        write_json({"machine": machine, "families": families, "prices": measure_options(student)}, RESULT)
    result = json.loads(RESULT.read_text())
    print("\n\n".join(tables(result).values()))
    if options.write:
        for marker, table in tables(result).items():
            put(table, marker, PAGE)
