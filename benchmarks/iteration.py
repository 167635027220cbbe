"""Where an iteration of Levenberg–Marquardt goes: milliseconds and GFLOP/s of its parts, for student and teacher.

    python benchmarks/iteration.py [--problems burgers,taylor_green] [--sizes student,teacher] [--repeats 10]

The stages of ``kdpinn_jax.recipe``, float64. Parts are compiled apart, called in turn, and the least time of each is
printed; the whole step, which is one program, stands below their sum. GFLOP/s count what the mathematics needs: R P²
for the R × P Jacobian's symmetric product (half of a full one), P³/3 for the factorisation. Beside them the peak, a
product of square matrices by NumPy and by XLA, and the Gram matrix by panels of several widths and as a full product.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

import kdpinn_jax as kd
from kdpinn_jax.training import points as _draw
from kdpinn_jax.training import residuals as _residuals
from kdpinn_jax.training.stages import _normal_equations as equations
from kdpinn_jax.training.stages.levenberg_marquardt import _scaling

jax.config.update("jax_enable_x64", True)
PEAK_SIZE = 2048
WIDTHS = (128, 256, 512, 1024)
#: Steps before a step is timed, at most: until one is accepted at once, as nearly all are.
SETTLED = 20

STEP = "whole step, without draw"

Call = Callable[[], object]


class Part(NamedTuple):
    """A part's least milliseconds, its floating-point operations (NaN: not counted), how often an iteration has it."""

    ms: float
    flop: float
    times: float = 1

    def rate(self) -> str:
        return "" if np.isnan(self.flop) else f"{1e-6 * self.flop / self.ms:.0f}"


def least(calls: Mapping[str, Call], repeats: int) -> dict[str, float]:
    """The least milliseconds of each call, called in turn: what else the machine does only adds."""
    for call in calls.values():
        jax.block_until_ready(call())
    found = dict.fromkeys(calls, np.inf)
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            found[name] = min(found[name], 1e3 * (time.perf_counter() - start))
    return found


def compiled(function: Callable, *arguments: object) -> Call:
    program = jax.jit(function).lower(*arguments).compile()
    return lambda: program(*arguments)


def peak(repeats: int) -> dict[str, float]:
    """GFLOP/s of a large square product."""
    a = np.random.default_rng(0).standard_normal((PEAK_SIZE, PEAK_SIZE))
    calls = {"NumPy": lambda: a @ a, "XLA": compiled(jnp.matmul, jnp.asarray(a), jnp.asarray(a))}
    return {name: 2e-6 * PEAK_SIZE**3 / ms for name, ms in least(calls, repeats).items()}


def settled(objective: kd.Objective, stage: kd.LevenbergMarquardt) -> tuple:
    """Parameters, memory and points from which a step is accepted at once."""
    params = kd.init_params(objective.problem, objective.network, jax.random.key(0))
    points = _draw.draw_evenly(objective, stage.sampling, jax.random.key(1))
    points = jax.jit(_draw.renew, static_argnums=1)(
        objective, stage.sampling, params, jax.random.key(2), points, jnp.asarray(0)
    )
    memory = stage.init(objective, params, points)
    step = jax.jit(stage.step)
    for _ in range(SETTLED):
        new = step(objective, params, memory, points)
        if new.memory.damping < memory.damping:  # λ falls after a step accepted at once, and after no other
            break
        params, memory = new.params, new.memory
    return params, memory, points


def measure(problem: kd.Problem, size: str, repeats: int) -> tuple[str, dict[str, Part], dict[str, Part]]:
    """A title, the parts of an iteration, the ways to a Gram matrix."""
    stage = getattr(kd.recipe(problem, "default", "best"), size)[-1]
    objective, key = kd.objective(problem, getattr(problem, size)), jax.random.key(3)
    params, memory, points = settled(objective, stage)
    r, jacobian = jax.jit(_residuals.residuals_and_weighted_jacobian)(objective, params, points)
    residual = _residuals.weighted_vector(objective, points, r)
    rows, columns = jacobian.shape
    scale = jnp.maximum(jnp.sum(jacobian**2, axis=0), jnp.finfo(jacobian.dtype).tiny)
    system = jax.jit(equations.gram)(jacobian, scale)
    factor = jax.jit(equations.factorise)(system, memory.damping)
    small, large = sorted((rows, columns))
    calls = {
        "draw": compiled(lambda p, old: _draw.renew(objective, stage.sampling, p, key, old, 0), params, points),
        "Jacobian": compiled(lambda p: _residuals.residuals_and_weighted_jacobian(objective, p, points), params),
        "scaling, Jv": compiled(lambda j, v: (_scaling(j, v), j @ v), jacobian, scale),
        "Gram": compiled(lambda *a: equations.gram(*a).matrix, jacobian, scale),
        "factorisation": compiled(equations.factorise, system, memory.damping),
        "solve": compiled(equations.solve, system, factor, residual),
        "residuals": compiled(lambda p: _residuals.residuals(objective, p, points), params),
        STEP: compiled(lambda p, m: stage.step(objective, p, m, points), params, memory),
    }
    # A solve is a product with J and two triangular systems. Nobody counts the operations of the other parts.
    flop = {
        "scaling, Jv": 4 * rows * columns,
        "Gram": large * small**2,
        "factorisation": small**3 / 3,
        "solve": 2 * rows * columns + 2 * small**2,
    }
    times = {"draw": 1 / stage.sampling.every, "solve": 2, "residuals": 2}
    parts = {name: Part(ms, flop.get(name, np.nan), times.get(name, 1)) for name, ms in least(calls, repeats).items()}
    grams = {name: Part(ms, flop["Gram"]) for name, ms in least(gram_calls(jacobian, scale), repeats).items()}
    form = "JᵀJ" if rows >= columns else "J D⁻¹Jᵀ (the kernel form)"
    return f"{problem.name}, {size}: J is {rows} × {columns}, {form} {small} × {small}", parts, grams


def gram_calls(jacobian: jax.Array, scale: jax.Array) -> dict[str, Call]:
    """The Gram matrix as one product and as lower panels of each width, the library's among them."""
    rows, columns = jacobian.shape
    full = (lambda j, d: (j / d) @ j.T) if rows < columns else (lambda j, d: j.T @ j)
    calls = {"full product": compiled(full, jacobian, scale)}
    small, kept = min(rows, columns), (equations.PANEL, equations.WIDE_PANEL)
    chosen = kept[0] if small < equations.WIDE else kept[1]
    for width in (width for width in sorted({*WIDTHS, chosen}) if width < small):
        equations.PANEL = equations.WIDE_PANEL = width  # read while tracing; each lambda is traced anew
        mark = " (the library's)" if width == chosen else ""
        calls[f"panels of {width}{mark}"] = compiled(lambda *a: equations.gram(*a).matrix, jacobian, scale)
    equations.PANEL, equations.WIDE_PANEL = kept
    return calls


def report(title: str, parts: dict[str, Part], grams: dict[str, Part]) -> str:
    """Markdown."""
    pieces = {name: part for name, part in parts.items() if name != STEP}
    total = sum(part.times * part.ms for part in pieces.values())
    lines = [f"\n{title}\n", "| part | times | ms | ms an iteration | share | GFLOP/s |", "|---|---|---|---|---|---|"]
    for name, part in pieces.items():
        ms = part.times * part.ms
        lines.append(f"| {name} | {part.times:g} | {part.ms:.1f} | {ms:.1f} | {ms / total:.0%} | {part.rate()} |")
    lines += [f"| sum | | | {total:.1f} | | |", f"| {STEP} | 1 | {parts[STEP].ms:.1f} | | | |"]
    lines += ["\n| Gram matrix | ms | GFLOP/s |", "|---|---|---|"]
    lines += [f"| {name} | {part.ms:.1f} | {part.rate()} |" for name, part in grams.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default="burgers,taylor_green")
    parser.add_argument("--sizes", default="student,teacher")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"jax {jax.__version__}, cores {cores}, load {os.getloadavg()[0]:.1f}")
    print(
        "peak, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in peak(options.repeats).items()), flush=True
    )
    for name in options.problems.split(","):
        for size in options.sizes.split(","):
            with threadpool_limits(1, user_api="blas"):  # as ``fit`` does
                print(report(*measure(kd.problems.ALL[name], size, options.repeats)), flush=True)
