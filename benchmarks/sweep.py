"""Sixteen students of one teacher, trained in one sweep and in sequence.

    python benchmarks/sweep.py              # both times, how busy the cores are, and the difference of the results
    python benchmarks/sweep.py --memory     # the largest memory use of 256 students

The students solve Burgers with hard conditions; layers (2, 20, 20, 20, 1), float64, one device per core. Compilation is
not counted: each training runs once before it is timed.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import jax

CORES = len(os.sched_getaffinity(0))
jax.config.update("jax_num_cpu_devices", CORES)
jax.config.update("jax_enable_x64", True)

import kdpinn_jax as kd  # noqa: E402 - the number of devices must be set first

BURGERS, NETWORK = kd.problems.ALL["burgers"], kd.MLP((20, 20, 20))
STAGES = {
    "Adam, 200 steps": kd.Adam(200, 5e-3),
    "LevenbergMarquardt, 20 steps": kd.LevenbergMarquardt(20, sampling=kd.ADAPTIVE),
}
Result = TypeVar("Result")
#: Multiply-adds of a network's value, two derivatives and their reverse pass, in units of those of the network alone.
PASSES = 3 * 4


def measure(function: Callable[[], Result]) -> tuple[Result, float, float]:
    """The result, the seconds and the number of busy cores of the second call."""
    function()
    start, busy = time.perf_counter(), time.process_time()
    result = function()
    seconds = time.perf_counter() - start
    return result, seconds, (time.process_time() - busy) / seconds


def compare(name: str, stage: kd.Stage, teacher: kd.Model, count: int = 16) -> None:
    """Print a comparison of ``count`` students in a sweep and in sequence."""
    options = {"network": NETWORK, "imitate": (), "stages": (stage,), "progress": False}
    members = kd.members(teacher, seed=range(count))
    swept, swept_seconds, swept_busy = measure(lambda: kd.sweep(teacher, members, **options))
    single, single_seconds, single_busy = measure(
        lambda: [kd.distill(teacher, jax.random.key(member.seed), **options) for member in members]
    )
    differences = [
        float(abs(a - b).max())
        for swept_model, model in zip(swept, single, strict=True)
        for a, b in zip(jax.tree.leaves(swept_model.params), jax.tree.leaves(model.params), strict=True)
    ]
    print(
        f"{name}: sweep {swept_seconds:.1f} s, {swept_busy:.2f} of {CORES} cores busy; in sequence "
        f"{single_seconds:.1f} s, {single_busy:.2f} cores busy; ratio {swept_seconds / single_seconds:.2f}, with "
        f"perfect sharing {single_busy / CORES:.2f}; largest difference of a parameter {max(differences):.1e}"
    )
    if isinstance(stage, kd.Adam):
        weights = sum(a * b for a, b in zip(single[0].layers, single[0].layers[1:], strict=False))
        flop = 2 * PASSES * weights * BURGERS.terms["residual"].count * stage.steps * count
        print(
            f"    about {flop / swept_seconds / 1e9:.1f} GFLOP/s in the sweep, {flop / single_seconds / 1e9:.1f} in "
            "sequence"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="measure the memory of 256 students instead")
    options = parser.parse_args()
    teacher = kd.train_teacher(BURGERS, jax.random.key(0), stages=(kd.Adam(20),), progress=False)
    if options.memory:
        stage = (kd.LevenbergMarquardt(4, sampling=kd.ADAPTIVE),)
        models = kd.sweep(teacher, kd.members(teacher, seed=range(256)), network=NETWORK, imitate=(), stages=stage)
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{len(models)} students, LevenbergMarquardt: {largest:.2f} GiB at most")
        return
    for name, stage in STAGES.items():
        compare(name, stage, teacher)


if __name__ == "__main__":
    main()
