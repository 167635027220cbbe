"""Latency of teacher and student on one core: eager, op by op, jitted, and compiled for prediction.

    python benchmarks/latency.py [teacher.safetensors student.safetensors]

One pinned core, one thread, float32, synchronous dispatch; networks and ways take turns, call by call. Without files
the networks of `burgers` with random weights are timed: latency does not depend on the weights. The relative L2 error
stands beside a trained model's times.
"""

import os

if hasattr(os, "sched_setaffinity"):  # before JAX counts the cores
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import sys

import jax
import numpy as np

import kdpinn_jax as kd
from kdpinn_jax._latency import time_in_turn

jax.config.update("jax_cpu_enable_async_dispatch", False)
SIZES = {1: 1000, 256: 1000, 1024: 1000, 10_000: 300, 65_536: 300}


def fresh(network: kd.MLP) -> kd.Model:
    problem = kd.problems.ALL["burgers"]
    target = kd.objective(problem, network)
    params = kd.init_params(problem, target.network, jax.random.key(0))
    return kd.Model(problem, target.network, params, dict(problem.coefficients))


def ways(model: kd.Model, z: np.ndarray) -> dict:
    """What a caller may call, from the slowest: an interpreter of Python, of operations, and two compiled programs."""
    model, batched = kd.cast(model, np.float32), jax.vmap(kd.cast(model, np.float32).field)
    predict, on_device = kd.compile_predict(model), jax.numpy.asarray(z)

    def without_jit():
        with jax.disable_jit():
            return batched(on_device)

    return {
        "jax.disable_jit": without_jit,
        "op by op": lambda: batched(on_device),
        "jit (model(z))": lambda: model(z),
        "compile_predict": lambda: predict(z),
    }


if __name__ == "__main__":
    files = sys.argv[1:]
    problem = kd.problems.ALL["burgers"]
    models = {file: kd.load(file) for file in files} or {
        "teacher": fresh(problem.teacher),
        "student": fresh(problem.student),
    }
    for name, model in models.items():
        error = f", relative L2 {kd.evaluate(model).relative_l2:.2e}" if files else ", random weights"
        print(f"{name}: {model.problem.name} {model.layers}, {model.parameters} parameters{error}")
    print(f"jax {jax.__version__}, cores {len(os.sched_getaffinity(0))}, load {os.getloadavg()[0]:.1f}; µs a call")
    print(f"{'N':>7} {'way':16} {'model':9} {'minimum':>9} {'median':>9} {'p95':>9} {'p99':>9}")
    for n, repeats in SIZES.items():
        calls = {}
        for name, model in models.items():
            p = model.problem
            z = np.random.default_rng(0).uniform(p.lower, p.upper, (n, len(p.axes))).astype(np.float32)
            calls |= {(way, name): call for way, call in ways(model, z).items()}
        for (way, name), t in time_in_turn(calls, repeats).items():
            print(f"{n:7d} {way:16} {os.path.basename(name)[:9]:9} ", end="")
            print(f"{t['minimum']:9.1f} {t['median']:9.1f} {t['p95']:9.1f} {t['p99']:9.1f}", flush=True)
