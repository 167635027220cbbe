"""Eight seeds of a small training, batched by ``jax.vmap`` and one after the other: the same numbers, and both times.

    python benchmarks/vmap.py

Burgers, hard conditions, student (2,20,20,20,1), 200 Adam and 50 L-BFGS steps, float64. Compiling is left out: each way
runs once before it is timed.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import kdpinn_jax as kd

jax.config.update("jax_enable_x64", True)
SEEDS = 8


def train(key):
    stages = (kd.Adam(200, 5e-3), kd.LBFGS(50))
    return kd.train_teacher(kd.problems.ALL["burgers"], key, network=kd.MLP((20, 20, 20)), stages=stages)


def timed(function):
    jax.block_until_ready(function())
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start


if __name__ == "__main__":
    keys = jax.random.split(jax.random.key(0), SEEDS)
    batched = jax.jit(jax.vmap(lambda key: train(key).params))
    together, seconds_together = timed(lambda: batched(keys))
    apart, seconds_apart = timed(lambda: [train(key).params for key in keys])
    apart = jax.tree.map(lambda *leaves: jnp.stack(leaves), *apart)
    difference = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), together, apart)))
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(apart))
    print(f"largest difference of a parameter: {difference:.1e} (parameters up to {largest:.1f})")
    print(f"{SEEDS} seeds: vmap {seconds_together:.1f} s, in sequence {seconds_apart:.1f} s, ", end="")
    print(f"ratio {seconds_together / seconds_apart:.2f}")
    assert np.isfinite(difference)
