"""Error against wall time for four optimisers, every problem, networks of both sizes, and several seeds.

    python benchmarks/training.py [--problems burgers,burgers-soft,…] [--optimisers LevenbergMarquardt,…]
        [--sizes student,teacher] [--seeds 0,1,2] [--seconds 60] [--pictures docs/images] [--table-only]

Every run has the same wall time, compilation included; JAX's caches are emptied before each run. Everything is in
float64. A name that ends in ``-soft`` is that problem with soft conditions. Each result is kept in
benchmarks/results/training/ and is not computed again, so the script can be interrupted. It draws one picture per
problem. The table shows the median and the worst of the seeds: at the end by ``kdpinn_jax.evaluate``, before that from
the history. A stage that is still being compiled when its time is over ends late; the result's ``wall`` is the true
wall time. benchmarks/deepxde_baseline.py adds the rows of DeepXDE.

Adam has new points at each step and a cosine decay over the number of steps that fits according to a trial, so that its
error is smallest only at the end. L-BFGS and SSBroyden start with a short Adam, and their points are redrawn where the
residual is large. Levenberg–Marquardt has the stages of ``kdpinn_jax.recipe``.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _training_results import RESULTS, SIZES, file_of, picture, read, table, thinned
from jax.typing import ArrayLike

import kdpinn_jax as kd
from kdpinn_jax.base.machine import describe_machine
from kdpinn_jax.base.storage import write_json
from kdpinn_jax.models import grids as _grids

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)  # compilation counts
# The errors in the history are measured at points that are nearly as dense as that of the final errors, because the
# shock of Burgers falls between two of the library's coarse points. This costs a few per cent of the time.
_grids.COARSE = 10_000

SOFT = "-soft"
VARIANTS = (*kd.problems.ALL, *(name + SOFT for name in ("burgers", "taylor_green")))
#: More steps than fit into any time budget.
MANY = 1_000_000
LEARNING_RATE = 5e-3
#: The stage before a quasi-Newton method, which would otherwise start far from any minimum.
SHORT_ADAM = kd.Adam(200, LEARNING_RATE)
#: Steps of the trial that measures the time of one step of Adam, and the fraction of the time that the planned steps
#: fill: the learning rate must have decayed before the time is over.
TRIAL, FILLED = 60, 0.95

Stages = tuple[kd.Stage, ...]


def problem_of(variant: str) -> kd.Problem:
    problem = kd.problems.ALL[variant.removesuffix(SOFT)]
    return kd.with_conditions(problem, "soft") if variant.endswith(SOFT) else problem


def adam(problem: kd.Problem, size: str, seconds: float) -> Stages:
    stages = (kd.Adam(TRIAL, LEARNING_RATE),)
    (trial,) = kd.train_teacher(
        problem, jax.random.key(0), network=getattr(problem, size), stages=stages, progress=False, track_error=True
    ).training
    # The time is measured from the first record on, before which the monitor is compiled.
    seconds_per_step = np.ptp(trial.record_seconds) / np.ptp(trial.record_steps)
    steps = FILLED * (seconds - trial.seconds_compiling) / seconds_per_step
    return (kd.Adam(max(TRIAL, int(steps)), LEARNING_RATE),)


def lbfgs(problem: kd.Problem, size: str, seconds: float) -> Stages:
    return SHORT_ADAM, kd.LBFGS(MANY, sampling=kd.Sampling(every=500, adaptive=("residual",)))


def ssbroyden(problem: kd.Problem, size: str, seconds: float) -> Stages:
    return SHORT_ADAM, kd.SSBroyden(MANY, sampling=kd.Sampling(every=200, adaptive=("residual",)))


def levenberg_marquardt(problem: kd.Problem, size: str, seconds: float) -> Stages:
    *first, last = getattr(kd.recipe(problem, "default", "best"), size)
    return *first, replace(last, steps=MANY)


OPTIMISERS: dict[str, Callable[[kd.Problem, str, float], Stages]] = {
    "Adam": adam,
    "LBFGS": lbfgs,
    "SSBroyden": ssbroyden,
    "LevenbergMarquardt": levenberg_marquardt,
}


def train(variant: str, size: str, optimiser: str, seed: int, seconds: float) -> dict[str, Any]:
    """The result of one training from a cold start: its curve, its final errors, and why each stage ended."""
    problem, machine = problem_of(variant), describe_machine()
    stages = OPTIMISERS[optimiser](problem, size, seconds)
    jax.clear_caches()
    start = time.perf_counter()
    model = kd.train_teacher(
        problem,
        jax.random.key(seed),
        network=getattr(problem, size),
        stages=stages,
        time_budget=seconds,
        progress=False,
        track_error=True,
    )
    wall = time.perf_counter() - start
    return {
        "problem": problem.name,
        "variant": variant,
        "conditions": problem.conditions,
        "size": size,
        "optimiser": optimiser,
        "seed": seed,
        "seconds": seconds,
        "wall": wall,
        "layers": model.layers,
        "parameters": model.parameters,
        "stages": [
            {
                "stage": report.stage,
                "steps": int(report.steps),
                "seconds_compiling": float(report.seconds_compiling),
                "seconds": float(report.seconds),
                "ended": report.why(),
            }
            for report in model.training
        ],
        "curve": thinned(curve(model.training)),
        "final": errors(model, None),
        "float32": errors(model, kd.compile_predict(model)),
        "machine": machine,
    }


def curve(stages: tuple[kd.StageReport, ...]) -> dict[str, np.ndarray]:
    """Seconds since the start, compilation included, relative L2 error and loss over all stages."""
    stage_start, records = 0.0, []
    for report in stages:
        if len(report.record_steps):
            seconds = stage_start + report.seconds_compiling + report.record_seconds
            records.append((seconds, report.history["relative_l2"], report.history["loss"]))
        stage_start += report.seconds_compiling + report.seconds
    columns = map(np.concatenate, zip(*records, strict=True)) if records else (np.zeros(0),) * 3
    return dict(zip(("seconds", "relative_l2", "loss"), columns, strict=True))


def errors(model: kd.Model, predict: Callable[[ArrayLike], ArrayLike] | None) -> dict[str, Any]:
    metrics = kd.evaluate(model, predict=predict)
    return {"relative_l2": metrics.relative_l2, "rmse": metrics.rmse, "max_error": metrics.max_error}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default=",".join(VARIANTS), help="names, separated by commas")
    parser.add_argument("--optimisers", default=",".join(OPTIMISERS), help="names, separated by commas")
    parser.add_argument("--sizes", default=",".join(SIZES), help="student, teacher or both, separated by commas")
    parser.add_argument("--seeds", default="0,1,2", help="whole numbers, separated by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="wall time of each run")
    parser.add_argument("--pictures", type=Path, default=RESULTS, help="the folder for the pictures")
    parser.add_argument(
        "--table-only", action="store_true", help="train nothing; write table and pictures from the stored results"
    )
    options = parser.parse_args()
    variants, optimisers, sizes, seeds = (
        getattr(options, name).split(",") for name in ("problems", "optimisers", "sizes", "seeds")
    )
    # The seeds are the outermost loop, so that an interrupted script has a first seed of everything to compare.
    runs = [(v, s, o, int(seed)) for seed in seeds for v in variants for s in sizes for o in optimisers]
    for run in [] if options.table_only else runs:
        path = file_of(*run, options.seconds)
        if not path.exists():
            result = train(*run, options.seconds)
            write_json(result, path)
            print(*run, f"{result['final']['relative_l2']:.2e}", result["stages"][-1]["ended"], sep=", ", flush=True)
    results = read(variants, sizes, optimisers, options.seconds)
    for variant in variants:
        if variant_results := [result for result in results if result["variant"] == variant]:
            picture(variant_results, options.seconds, options.pictures / f"{variant}.png")
    print(table(results, options.seconds))
