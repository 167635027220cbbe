"""Prices and Greeks of a million options by a student of the Black–Scholes family, beside the closed form.

    kdpinn run black_scholes --range sigma=0.1,0.5 --range r=0,0.1 --preset best --time-budget 480 --out runs/options
    kdpinn run burgers --range nu=0.005,0.05 --preset best --time-budget 480 --out runs/waves
    python benchmarks/greeks.py runs/options runs/waves --write

A million options are drawn evenly over t ∈ (0, 1), S ∈ (0, 3), σ ∈ (0.1, 0.5), r ∈ (0, 0.1); none is left out. Errors
are also given without the kink: where τ = 1 − t is below a week and S within 4σ√τ of the discounted strike. Truth is
the closed form in float64. Everything is served in float32 by one thread pinned to one core, in blocks of 16,384
options; the methods take turns, and medians count. ``--write`` puts the tables into docs/parametric.md,
``--table-only`` those of the result that is kept.
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
#: The price and its derivatives by the names that ``compile_predict`` takes, and what traders call them.
GREEKS = {"V": "price", "V_S": "delta", "V_SS": "gamma", "V_sigma": "vega", "V_t": "theta", "V_r": "rho"}
OPTIONS, ROUNDS = 1_000_000, 7
WEEK = 7 / 365

#: Options (n, 4) -> a column for the price and each Greek.
Predict = Callable[[np.ndarray], Sequence[np.ndarray]]


def closed_form(xp: Any, ndtr: Callable[[Any], Any], z: Any, greeks: bool) -> list[Any]:
    """Price and, if asked, Δ = Φ(d₁), Γ = φ(d₁)/(Sσ√τ), vega = S φ(d₁) √τ, Θ = −½ Γ S² σ² − r K e^{−rτ} Φ(d₂) and
    ρ = K τ e^{−rτ} Φ(d₂), by the operations of ``xp``."""
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


def in_blocks(predict: Predict, z: np.ndarray) -> list[Sequence[np.ndarray]]:
    return [predict(z[i : i + LARGEST]) for i in range(0, len(z), LARGEST)]


def values(predict: Predict, z: np.ndarray) -> np.ndarray:
    return np.concatenate([np.stack(block, axis=1) for block in in_blocks(predict, z)])


def drawn(problem: kd.Problem) -> np.ndarray:
    """(n, 4) in float32, strictly inside, so that every method sees the same numbers."""
    unit = np.random.default_rng(0).uniform(size=(OPTIONS, 4)).astype(np.float32)
    unit = np.clip(unit, 1e-6, 1 - 1e-6)
    lower, upper = (np.asarray(ends, np.float32) for ends in (problem.lower, problem.upper))
    return lower + (upper - lower) * unit


def at_the_kink(z: np.ndarray) -> np.ndarray:
    t, s, sigma, r = z.astype(np.float64).T
    tau = 1 - t
    return (tau < WEEK) & (np.abs(s - np.exp(-r * tau)) < 4 * sigma * np.sqrt(tau))


def errors(found: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, float]]:
    """Of each column: largest and RMS error, and the RMS error over the RMS value."""
    wrong = found.astype(np.float64) - truth
    rms = lambda x: np.sqrt(np.mean(x**2, axis=0))
    columns = zip(np.abs(wrong).max(axis=0), rms(wrong), rms(wrong) / rms(truth), strict=True)
    return {
        greek: {"max": float(largest), "rms": float(root), "relative_l2": float(relative)}
        for greek, (largest, root, relative) in zip(GREEKS.values(), columns, strict=True)
    }


def options(model: kd.Model) -> dict[str, Any]:
    z = drawn(model.problem)
    methods = {
        ("student", "price"): by_student(model, ["V"]),
        ("student", "price and Greeks"): by_student(model, list(GREEKS)),
        ("closed form, JAX", "price"): by_jax(False),
        ("closed form, JAX", "price and Greeks"): by_jax(True),
        ("closed form, SciPy", "price"): by_numpy(False),
        ("closed form, SciPy", "price and Greeks"): by_numpy(True),
    }
    kink = at_the_kink(z)
    truth = values(by_numpy(True), z.astype(np.float64))
    served = {name: values(predict, z) for (name, what), predict in methods.items() if what != "price"}
    with jax.enable_x64(True):
        exact = values(by_student(model, list(GREEKS), np.float64), z.astype(np.float64))
    seconds: dict[tuple[str, str], list[float]] = {method: [] for method in methods}
    for turn in range(ROUNDS + 1):
        for method, predict in methods.items():
            start = time.perf_counter()
            in_blocks(predict, z)
            if turn:  # the first one compiles the last, smaller block
                seconds[method].append(time.perf_counter() - start)
    rates = {method: OPTIONS / float(np.median(taken)) for method, taken in seconds.items()}
    return {
        "options": OPTIONS,
        "at_the_kink": int(kink.sum()),
        "errors": {
            name: {"all": errors(found, truth), "away": errors(found[~kink], truth[~kink])}
            for name, found in {**served, "student in float64": exact}.items()
        },
        "options_per_second": {
            name: {what: rate for (of, what), rate in rates.items() if of == name} for name in dict.fromkeys(served)
        },
    }


def family(folder: Path) -> dict[str, Any]:
    """Errors of teacher and student over the range, of the worst member and the worst corner, and what it took."""
    run = json.loads((folder / "result.json").read_text())
    found = {}
    for role in ("teacher", "student"):
        metrics = kd.evaluate(kd.load(folder / f"{role}.safetensors"))
        describe = lambda member: member.coefficients | {"relative_l2": member.errors.relative_l2}
        found[role] = {
            "layers": run[role]["layers"],
            "seconds": run[role]["seconds_compiling"] + run[role]["seconds_training"],
            "steps": [stage["steps"] for stage in run[role]["stages"]],
            "relative_l2": metrics.relative_l2,
            "max_error": metrics.max_error,
            "worst": describe(metrics.members[0]),
            "worst_corner": describe(metrics.corners[0]),
            "best": describe(metrics.members[-1]),
        }
    return {"problem": run["problem"], "ranges": run["ranges"], **found}


def tables(found: Mapping[str, Any]) -> dict[str, str]:
    """``{name: Markdown}``: the families, the Greeks' errors, and the rates."""
    at = lambda member: ", ".join(f"{k} = {v:.3g}" for k, v in member.items() if k != "relative_l2")
    head = ("family", "network", "s", "relative L2", "largest error", "best member", "worst member", "worst corner")
    families = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for of in found["families"]:
        ranges = ", ".join(f"{name} {low:g}–{high:g}" for name, (low, high) in of["ranges"].items())
        for role in ("teacher", "student"):
            it = of[role]
            members = " | ".join(
                f"{it[which]['relative_l2']:.1e} ({at(it[which])})" for which in ("best", "worst", "worst_corner")
            )
            layers = " → ".join(map(str, it["layers"]))
            families.append(
                f"| `{of['problem']}`, {ranges} | {role}, {layers} | {it['seconds']:.0f} | {it['relative_l2']:.1e} | "
                f"{it['max_error']:.1e} | {members} |"
            )
    greeks = ["| method | options | error | " + " | ".join(GREEKS.values()) + " |", "|---" * (3 + len(GREEKS)) + "|"]
    prices = found["prices"]
    for method, sets in prices["errors"].items():
        for which, title in (("all", "all"), ("away", "without the kink"))[: 2 if method == "student" else 1]:
            for kind, label in (("relative_l2", "relative L2"), ("rms", "RMS"), ("max", "largest")):
                cells = " | ".join(f"{sets[which][greek][kind]:.1e}" for greek in GREEKS.values())
                greeks.append(f"| {method} | {title} | {label} | {cells} |")
    rates = ["| method | price | price and Greeks |", "|---|---|---|"]
    for method, rate in prices["options_per_second"].items():
        rates.append(f"| {method} | {1e-6 * rate['price']:.1f} | {1e-6 * rate['price and Greeks']:.1f} |")
    return {"families": "\n".join(families), "greeks": "\n".join(greeks), "rates": "\n".join(rates)}


def on_one_core() -> None:
    """Begin anew on one core and with one thread: libraries count the cores when they are imported."""
    if os.environ.get("GREEKS_PINNED"):
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GREEKS_PINNED"), "1")
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | one | {"JAX_PLATFORMS": "cpu"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="made by kdpinn run; the first is of black_scholes")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--table-only", action="store_true", help="from the result that is there")
    asked = parser.parse_args()
    if not asked.table_only:
        on_one_core()
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        with jax.enable_x64(True):
            families = [family(folder) for folder in asked.folders]
            student = kd.load(asked.folders[0] / "student.safetensors")
        found = {"machine": describe_machine(), "families": families, "prices": options(student)}
        write_json(found, RESULT)
    found = json.loads(RESULT.read_text())
    print("\n\n".join(tables(found).values()))
    if asked.write:
        for mark, table in tables(found).items():
            put(table, mark, PAGE)
