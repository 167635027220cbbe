"""Sixteen students of one teacher in one sweep and one after the other: the same numbers, both times, and how busy the
cores are. With ``--memory`` instead: the most memory that 256 of them take.

    python benchmarks/sweep.py
    python benchmarks/sweep.py --memory

Burgers, hard conditions, student (2,20,20,20,1), float64, a core a device. Compiling is left out: each way runs once
before it is timed.
"""

import argparse
import os
import resource
import time

import jax

CORES = len(os.sched_getaffinity(0))
jax.config.update("jax_num_cpu_devices", CORES)
jax.config.update("jax_enable_x64", True)

import kdpinn_jax as kd  # noqa: E402 - after the number of devices is set

BURGERS, NETWORK = kd.problems.ALL["burgers"], kd.MLP((20, 20, 20))
STAGES = {
    "Adam, 200 steps": kd.Adam(200, 5e-3),
    "LevenbergMarquardt, 20 steps": kd.LevenbergMarquardt(20, sampling=kd.ADAPTIVE),
}
#: Multiply-adds of a network's value, two derivatives and their reverse pass, in units of the network's own.
PASSES = 3 * 4


def timed(function):
    function()
    start, busy = time.perf_counter(), time.process_time()
    result = function()
    seconds = time.perf_counter() - start
    return result, seconds, (time.process_time() - busy) / seconds


def compare(name, stage, teacher, count=16):
    options = {"network": NETWORK, "imitate": (), "stages": (stage,), "progress": False}
    members = kd.members(teacher, seed=range(count))
    together, seconds, busy = timed(lambda: kd.sweep(teacher, members, **options))
    apart, apart_seconds, apart_busy = timed(
        lambda: [kd.distill(teacher, jax.random.key(member.seed), **options) for member in members]
    )
    differences = [
        float(abs(a - b).max())
        for ours, theirs in zip(together, apart, strict=True)
        for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True)
    ]
    print(
        f"{name}: sweep {seconds:.1f} s, {busy:.2f} of {CORES} cores busy; in sequence {apart_seconds:.1f} s, "
        f"{apart_busy:.2f} cores busy; ratio {seconds / apart_seconds:.2f}, of perfect sharing "
        f"{apart_busy / CORES:.2f}; largest difference of a parameter {max(differences):.1e}"
    )
    if isinstance(stage, kd.Adam):
        weights = sum(a * b for a, b in zip(apart[0].layers, apart[0].layers[1:], strict=False))
        flops = 2 * PASSES * weights * BURGERS.terms["residual"].count * stage.steps * count
        print(f"    about {flops / seconds / 1e9:.1f} GFLOP/s together, {flops / apart_seconds / 1e9:.1f} in sequence")


def main():
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--memory", action="store_true")
    given = asked.parse_args()
    teacher = kd.train_teacher(BURGERS, jax.random.key(0), stages=(kd.Adam(20),), progress=False)
    if given.memory:
        stage = (kd.LevenbergMarquardt(4, sampling=kd.ADAPTIVE),)
        models = kd.sweep(teacher, kd.members(teacher, seed=range(256)), network=NETWORK, imitate=(), stages=stage)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{len(models)} students, LevenbergMarquardt: {most:.2f} GiB at most")
        return
    for name, stage in STAGES.items():
        compare(name, stage, teacher)


if __name__ == "__main__":
    main()
