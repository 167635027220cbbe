"""Error against wall time: four optimisers, every problem, teacher- and student-size networks, several seeds.

    python benchmarks/training.py [--problems burgers,burgers-soft,…] [--optimisers LevenbergMarquardt,…]
        [--sizes student,teacher] [--seeds 0,1,2] [--seconds 60] [--pictures docs/images] [--table-only]

Every run gets the same wall seconds, compiling included: JAX's caches are emptied before each. float64. A name that
ends in ``-soft`` is that problem with soft conditions. Each result is kept in benchmarks/results/training/ and not made
again, so the script can be stopped; beside it a picture a problem is drawn. The table has the median and the worst of
the seeds, at the end by ``kdpinn_jax.evaluate``, before it from the history. A stage that is still being compiled when
its time is up ends late, and the result's ``wall`` says so. benchmarks/deepxde_baseline.py adds a line.

Adam: new points each step, a cosine decay over as many steps as a trial says will fit, so that it is at its best only
at the end. L-BFGS and SSBroyden: a short Adam, then points drawn anew where the residual is large. Levenberg–Marquardt:
the stages of ``kdpinn_jax.recipe``.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from _training_results import RESULTS, SIZES, file_of, picture, read, table, thinned

import kdpinn_jax as kd
from kdpinn_jax.base.machine import describe_machine
from kdpinn_jax.base.storage import write_json
from kdpinn_jax.models import grids as _grids

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)  # compiling counts
# The history's errors on a grid as dense as the final ones', or nearly: on the library's coarse one Burgers' shock
# falls between two points. A look then costs a few per cent of the time between two.
_grids.COARSE = {1: 1001, 2: 101, 3: 21}

SOFT = "-soft"
VARIANTS = (*kd.problems.ALL, *(name + SOFT for name in ("burgers", "taylor_green")))
#: More steps than any budget holds.
MANY = 1_000_000
LEARNING_RATE = 5e-3
#: The Adam that goes before a quasi-Newton method, which would otherwise start on a slope far from any valley.
SHORT = kd.Adam(200, LEARNING_RATE)
#: Steps of the trial that tells how long one of Adam's takes, and the share of the time they are planned to fill: the
#: learning rate should have fallen before the clock stops them.
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
    # From the first record on: before it the monitor is compiled.
    a_step = np.ptp(trial.record_seconds) / np.ptp(trial.record_steps)
    fit = FILLED * (seconds - trial.seconds_compiling) / a_step
    return (kd.Adam(max(TRIAL, int(fit)), LEARNING_RATE),)


def lbfgs(problem: kd.Problem, size: str, seconds: float) -> Stages:
    return SHORT, kd.LBFGS(MANY, sampling=kd.Sampling(every=500, adaptive=("residual",)))


def ssbroyden(problem: kd.Problem, size: str, seconds: float) -> Stages:
    return SHORT, kd.SSBroyden(MANY, sampling=kd.Sampling(every=200, adaptive=("residual",)))


def levenberg_marquardt(problem: kd.Problem, size: str, seconds: float) -> Stages:
    *before, last = getattr(kd.recipe(problem, "default", "best"), size)
    return *before, replace(last, steps=MANY)


OPTIMISERS: dict[str, Callable[[kd.Problem, str, float], Stages]] = {
    "Adam": adam,
    "LBFGS": lbfgs,
    "SSBroyden": ssbroyden,
    "LevenbergMarquardt": levenberg_marquardt,
}


def one(variant: str, size: str, optimiser: str, seed: int, seconds: float) -> dict:
    """A training from a cold start: its curve, its errors at the end, and why each stage ended."""
    problem, before = problem_of(variant), describe_machine()
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
        "final": error(model, None),
        "float32": error(model, kd.compile_predict(model)),
        "machine": before,
    }


def curve(stages: tuple[kd.StageReport, ...]) -> dict[str, np.ndarray]:
    """Seconds since the start with the compiling of every stage, relative L2 error and loss, of all stages in turn."""
    begun, parts = 0.0, []
    for report in stages:
        if len(report.record_steps):
            seconds = begun + report.seconds_compiling + report.record_seconds
            parts.append((seconds, report.history["relative_l2"], report.history["loss"]))
        begun += report.seconds_compiling + report.seconds
    columns = map(np.concatenate, zip(*parts, strict=True)) if parts else (np.zeros(0),) * 3
    return dict(zip(("seconds", "relative_l2", "loss"), columns, strict=True))


def error(model: kd.Model, predict: Callable | None) -> dict[str, float]:
    found = kd.evaluate(model, predict=predict)
    return {"relative_l2": found.relative_l2, "rmse": found.rmse, "max_error": found.max_error}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default=",".join(VARIANTS))
    parser.add_argument("--optimisers", default=",".join(OPTIMISERS))
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pictures", type=Path, default=RESULTS, help="where the pictures go")
    parser.add_argument("--table-only", action="store_true", help="train nothing: table and pictures of what is there")
    options = parser.parse_args()
    variants, optimisers, sizes, seeds = (
        getattr(options, name).split(",") for name in ("problems", "optimisers", "sizes", "seeds")
    )
    # Seeds outermost: a run that is stopped has compared everything once.
    runs = [(v, s, o, int(seed)) for seed in seeds for v in variants for s in sizes for o in optimisers]
    for run in [] if options.table_only else runs:
        path = file_of(*run, options.seconds)
        if not path.exists():
            result = one(*run, options.seconds)
            write_json(result, path)
            print(*run, f"{result['final']['relative_l2']:.2e}", result["stages"][-1]["ended"], sep=", ", flush=True)
    results = read(variants, sizes, optimisers, options.seconds)
    for variant in variants:
        if of_variant := [result for result in results if result["variant"] == variant]:
            picture(of_variant, options.seconds, options.pictures / f"{variant}.png")
    print(table(results, options.seconds))
