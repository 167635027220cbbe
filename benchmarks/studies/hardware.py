"""The same training and the same prediction on whatever device JAX finds, in float32 and float64.

    python benchmarks/studies/hardware.py [--quick]

Burgers' student without a teacher, so many steps of Levenberg–Marquardt or of Adam: seconds to compile, milliseconds a
step, the error; and ``jax.jit`` and ``compile_predict`` at three sizes. Run it on another machine, and its rows join
those that are there; on a CPU, ``taskset -c 0`` as in the other studies.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from _study import Results, Study, by, main, markdown, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd

PROBLEM = kd.problems.ALL["burgers"]
STEPS = {"LevenbergMarquardt": 60, "Adam": 500}
SIZES = (1, 10_000, 1_000_000)
CALLS = 20


def one(stage: str, precision: str, seed: int, quick: bool) -> dict[str, Any]:
    with jax.enable_x64(precision == "float64"):
        steps = 2 if quick else STEPS[stage]
        chosen = kd.recipe(PROBLEM, "default", "quick").student if stage != "Adam" else (kd.Adam(steps, 5e-3),)
        chosen = tuple(replace(each, steps=steps) for each in chosen)
        model = kd.train_teacher(
            PROBLEM, jax.random.key(seed), network=PROBLEM.student, stages=chosen, progress=False, track_error=True
        )
        (report,) = model.training
        predict = kd.compile_predict(model, dtype=precision)
        timed = {f"{n:,}": seconds_a_call(model, predict, n, precision) for n in (SIZES[:1] if quick else SIZES)}
        return {
            "device": jax.devices()[0].device_kind,
            "platform": jax.default_backend(),
            "stage": stage,
            "precision": precision,
            "seed": seed,
            "compiling": float(report.seconds_compiling),
            "step": float(report.seconds) / int(report.steps),
            "ended": report.why(),
            "relative_l2": kd.evaluate(model).relative_l2,
            "predict": timed,
        }


def seconds_a_call(model: kd.Model, predict: Callable[..., Any], n: int, precision: str) -> dict[str, float]:
    """Medians, in turn: ``model`` on points that are on the device, and ``compile_predict`` from and to NumPy."""
    lower, upper = model.problem.lower, model.problem.upper
    z = np.random.default_rng(0).uniform(lower, upper, (n, len(lower))).astype(precision)
    there = jax.device_put(z)
    calls = {"jax.jit": lambda: jax.block_until_ready(model(there)), "compile_predict": lambda: predict(z)}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(CALLS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def tables(results: Results) -> dict[str, str]:
    rows, times = [], []
    for (device, stage, precision), runs in by(results, "device", "stage", "precision").items():
        rows.append(
            [
                device,
                stage,
                precision,
                f"{max(run['compiling'] for run in runs):.1f}",
                spread([1000 * run["step"] for run in runs], ".1f"),
                spread([run["relative_l2"] for run in runs]),
            ]
        )
        if stage != "Adam":
            for n in runs[0]["predict"]:
                of = [spread([1e6 * run["predict"][n][how] for run in runs], ".3g") for how in runs[0]["predict"][n]]
                times.append([device, precision, n, *of])
    head = ["device", "stage", "precision", "compiling once, s", "ms a step", "relative L2"]
    return {
        "training": markdown(head, rows),
        "prediction": markdown(["device", "precision", "N", "jax.jit, µs", "compile_predict, µs"], times),
    }


def picture(results: Results) -> Figure:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    panel = figure.subplots()
    for (device, precision), runs in by(results, "device", "precision").items():
        of = [run for run in runs if run["stage"] != "Adam"]
        if of:
            sizes = [int(n.replace(",", "")) for n in of[0]["predict"]]
            y = [np.median([1e6 * run["predict"][f"{n:,}"]["jax.jit"] for run in of]) for n in sizes]
            panel.plot(sizes, y, "o-", label=f"{device}, {precision}")
    panel.set(xscale="log", yscale="log", xlabel="points a call", ylabel="µs a call, jax.jit", title="Burgers' student")
    panel.legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    device = "".join(c if c.isalnum() else "_" for c in jax.devices()[0].device_kind)
    return {
        f"{device}-{stage}-{precision}-{seed}": functools.partial(one, stage, precision, seed, quick)
        for seed in seeds
        for precision in ("float32", "float64")
        for stage in STEPS
    }


STUDY = Study("hardware", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
