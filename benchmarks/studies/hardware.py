"""The same training and the same prediction on whichever device JAX finds, in float32 and float64.

    python benchmarks/studies/hardware.py [--quick]

The student of Burgers is trained without a teacher by a fixed number of steps of Levenberg–Marquardt or of Adam. The
tables give the compile time, ms per step and the error, and the times of ``jax.jit`` and ``compile_predict`` for three
numbers of points. A run on another machine adds its rows to the stored ones. On a CPU, use ``taskset -c 0`` as in the
other studies.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import numpy as np
from _study import Cases, Result, Results, Study, by, main, markdown, spread
from matplotlib.figure import Figure

import kdpinn_jax as kd

PROBLEM = kd.problems.ALL["burgers"]
STEPS = {"LevenbergMarquardt": 60, "Adam": 500}
SIZES = (1, 10_000, 1_000_000)
CALLS = 20


def run_case(stage: str, precision: str, seed: int, quick: bool) -> Result:
    with jax.enable_x64(precision == "float64"):
        steps = 2 if quick else STEPS[stage]
        stages = kd.recipe(PROBLEM, "default", "quick").student if stage != "Adam" else (kd.Adam(steps, 5e-3),)
        stages = tuple(replace(each, steps=steps) for each in stages)
        model = kd.train_teacher(
            PROBLEM,
            jax.random.key(seed),
            network=PROBLEM.student,
            stages=stages,
            progress=False,
            track_error=True,
            dtype=precision,
        )
        (report,) = model.training
        predict = kd.compile_predict(model, dtype=precision)
        sizes = SIZES[:1] if quick else SIZES
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
            "predict": {f"{n:,}": seconds_per_call(model, predict, n, precision) for n in sizes},
        }


def seconds_per_call(
    model: kd.Model, predict: Callable[[np.ndarray], object], n: int, precision: str
) -> dict[str, float]:
    """Median times of ``model`` on points that are on the device, and of ``compile_predict`` from NumPy to NumPy.

    The two are called in turn.
    """
    lower, upper = model.problem.lower, model.problem.upper
    z = np.random.default_rng(0).uniform(lower, upper, (n, len(lower))).astype(precision)
    z_on_device = jax.device_put(z)
    calls = {"jax.jit": lambda: jax.block_until_ready(model(z_on_device)), "compile_predict": lambda: predict(z)}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(CALLS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def tables(results: Results) -> dict[str, str]:
    rows, times = [], []
    for (device, stage, precision), runs in by(results, "device", "stage", "precision").items():
        # Only the first training of a process compiles, so the largest compile time is that of the compilation.
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
            for n, methods in runs[0]["predict"].items():
                cells = [spread([1e6 * run["predict"][n][method] for run in runs], ".3g") for method in methods]
                times.append([device, precision, n, *cells])
    head = ["device", "stage", "precision", "compile time, s", "ms per step", "relative L2"]
    times_head = ["device", "precision", "N", "jax.jit, µs per call", "compile_predict, µs per call"]
    return {"training": markdown(head, rows), "prediction": markdown(times_head, times)}


def picture(results: Results) -> Figure:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    panel = figure.subplots()
    for (device, precision), runs in by(results, "device", "precision").items():
        timed_runs = [run for run in runs if run["stage"] != "Adam"]
        if timed_runs:
            sizes = [int(n.replace(",", "")) for n in timed_runs[0]["predict"]]
            y = [np.median([1e6 * run["predict"][f"{n:,}"]["jax.jit"] for run in timed_runs]) for n in sizes]
            panel.plot(sizes, y, "o-", label=f"{device}, {precision}")
    panel.set(xscale="log", yscale="log", xlabel="points per call", ylabel="µs per call, jax.jit")
    panel.set_title("student of Burgers")
    panel.legend(fontsize=7)
    return figure


def cases(seeds: Sequence[int], quick: bool) -> Cases:
    device = "".join(c if c.isalnum() else "_" for c in jax.devices()[0].device_kind)
    return {
        f"{device}-{stage}-{precision}-{seed}": functools.partial(run_case, stage, precision, seed, quick)
        for seed in seeds
        for precision in ("float32", "float64")
        for stage in STEPS
    }


STUDY = Study("hardware", cases, tables, picture)

if __name__ == "__main__":
    main(STUDY, __doc__)
