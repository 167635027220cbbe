"""Eight seeds of a small training, batched by ``jax.vmap`` and one after the other: the same numbers, and both times.

    python benchmarks/vmap.py

Burgers, hard conditions, student (2,20,20,20,1), float64. Compiling is left out: each way runs once before it is timed.
"""

import math
import time

import jax
import jax.numpy as jnp

import kdpinn_jax as kd

jax.config.update("jax_enable_x64", True)
SEEDS = 8
STAGES = {"Adam, 200 steps": (kd.Adam(200, 5e-3),), "LevenbergMarquardt, 20 steps": (kd.LevenbergMarquardt(20),)}


def train(key, stages):
    return kd.train_teacher(kd.problems.ALL["burgers"], key, network=kd.MLP((20, 20, 20)), stages=stages)


def timed(function):
    jax.block_until_ready(function())
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start


def compare(name: str, stages: tuple[kd.Stage, ...]) -> None:
    keys = jax.random.split(jax.random.key(0), SEEDS)
    batched = jax.jit(jax.vmap(lambda key: train(key, stages).params))
    together, seconds_together = timed(lambda: batched(keys))
    apart, seconds_apart = timed(lambda: [train(key, stages).params for key in keys])
    apart = jax.tree.map(lambda *leaves: jnp.stack(leaves), *apart)
    difference = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), together, apart)))
    assert math.isfinite(difference)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(apart))
    print(f"{name}: largest difference of a parameter {difference:.1e} (parameters up to {largest:.1f}); ", end="")
    print(f"vmap {seconds_together:.1f} s, in sequence {seconds_apart:.1f} s, ", end="")
    print(f"ratio {seconds_together / seconds_apart:.2f}", flush=True)


if __name__ == "__main__":
    for name, stages in STAGES.items():
        compare(name, stages)
