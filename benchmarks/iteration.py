"""The parts of a Levenberg–Marquardt step: milliseconds and GFLOP/s of each, for student and teacher.

    python benchmarks/iteration.py [--problems burgers,taylor_green] [--sizes student,teacher] [--repeats 10]

The stages are those of ``kdpinn_jax.recipe``, in float64. The parts are compiled separately and called in turn, and the
shortest time of each is printed. The whole step, which is one program, is printed below their sum. GFLOP/s count the
operations that the mathematics requires: R P² for the symmetric product of the R × P Jacobian (half of a full product)
and P³/3 for the factorisation. The script also prints the peak, which is the rate of a product of square matrices by
NumPy and by XLA, and times of the Gram matrix by panels of several widths and as a full product.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

import kdpinn_jax as kd
from kdpinn_jax.base.types import Params, Points
from kdpinn_jax.training import points as _points
from kdpinn_jax.training import residuals as _residuals
from kdpinn_jax.training.stages import _normal_equations as equations
from kdpinn_jax.training.stages.levenberg_marquardt import _scaling

jax.config.update("jax_enable_x64", True)
PEAK_SIZE = 2048
WIDTHS = (128, 256, 512, 1024)
#: The largest number of steps before a step is timed. They end at a step that is accepted at the first trial, as nearly
#: all are.
WARM_UP = 20

STEP = "whole step, without draw"

Call = Callable[[], object]


class Part(NamedTuple):
    """A part of an iteration.

    Attributes:
        ms: the shortest time of a call, in milliseconds.
        flop: floating-point operations; NaN if they are not counted.
        calls: calls per iteration.
    """

    ms: float
    flop: float
    calls: float = 1

    def rate(self) -> str:
        return "" if np.isnan(self.flop) else f"{1e-6 * self.flop / self.ms:.0f}"


def shortest(calls: Mapping[str, Call], repeats: int) -> dict[str, float]:
    """The shortest time of each call in milliseconds, measured in turn; other work on the machine only adds time."""
    for call in calls.values():
        jax.block_until_ready(call())
    milliseconds = dict.fromkeys(calls, np.inf)
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            milliseconds[name] = min(milliseconds[name], 1e3 * (time.perf_counter() - start))
    return milliseconds


def compiled(function: Callable, *arguments: object) -> Call:
    program = jax.jit(function).lower(*arguments).compile()
    return lambda: program(*arguments)


def peak(repeats: int) -> dict[str, float]:
    """GFLOP/s of a large square product."""
    a = np.random.default_rng(0).standard_normal((PEAK_SIZE, PEAK_SIZE))
    calls = {"NumPy": lambda: a @ a, "XLA": compiled(jnp.matmul, jnp.asarray(a), jnp.asarray(a))}
    return {name: 2e-6 * PEAK_SIZE**3 / ms for name, ms in shortest(calls, repeats).items()}


def warm_up(objective: kd.Objective, stage: kd.LevenbergMarquardt) -> tuple[Params, Any, Points]:
    """Parameters, state and points from which a step is accepted at the first trial."""
    params = kd.init_params(objective.problem, objective.network, jax.random.key(0))
    points = _points.draw_evenly(objective, stage.sampling, jax.random.key(1))
    points = jax.jit(_points.renew, static_argnums=1)(
        objective, stage.sampling, params, jax.random.key(2), points, jnp.asarray(0)
    )
    state = stage.init(objective, params, points)
    step = jax.jit(stage.step)
    for _ in range(WARM_UP):
        result = step(objective, params, state, points)
        if result.state.damping < state.damping:  # λ falls only after a step that is accepted at the first trial
            break
        params, state = result.params, result.state
    return params, state, points


def measure(problem: kd.Problem, size: str, repeats: int) -> tuple[str, dict[str, Part], dict[str, Part]]:
    """A title, the parts of an iteration, and the ways to compute the Gram matrix."""
    stage = getattr(kd.recipe(problem, "default", "best"), size)[-1]
    objective, key = kd.objective(problem, getattr(problem, size)), jax.random.key(3)
    params, state, points = warm_up(objective, stage)
    r, jacobian = jax.jit(_residuals.residuals_and_weighted_jacobian)(objective, params, points)
    residual = _residuals.weighted_vector(objective, points, r)
    rows, columns = jacobian.shape
    scale = jnp.maximum(jnp.sum(jacobian**2, axis=0), jnp.finfo(jacobian.dtype).tiny)
    system = jax.jit(equations.gram)(jacobian, scale)
    factor = jax.jit(equations.factorise)(system, state.damping)
    small, large = sorted((rows, columns))
    calls = {
        "draw": compiled(
            lambda p, old: _points.renew(objective, stage.sampling, p, key, old, jnp.asarray(0)), params, points
        ),
        "Jacobian": compiled(lambda p: _residuals.residuals_and_weighted_jacobian(objective, p, points), params),
        "scaling, Jv": compiled(lambda j, v: (_scaling(j, v), j @ v), jacobian, scale),
        "Gram": compiled(lambda *a: equations.gram(*a).matrix, jacobian, scale),
        "factorisation": compiled(equations.factorise, system, state.damping),
        "solve": compiled(equations.solve, system, factor, residual),
        "residuals": compiled(lambda p: _residuals.residuals(objective, p, points), params),
        STEP: compiled(lambda p, s: stage.step(objective, p, s, points), params, state),
    }
    # A solve is a product with J and two triangular systems. The operations of the other parts are not counted.
    flop = {
        "scaling, Jv": 4 * rows * columns,
        "Gram": large * small**2,
        "factorisation": small**3 / 3,
        "solve": 2 * rows * columns + 2 * small**2,
    }
    counts = {"draw": 1 / stage.sampling.every, "solve": 2, "residuals": 2}
    milliseconds = shortest(calls, repeats)
    parts = {name: Part(ms, flop.get(name, np.nan), counts.get(name, 1)) for name, ms in milliseconds.items()}
    grams = {name: Part(ms, flop["Gram"]) for name, ms in shortest(gram_calls(jacobian, scale), repeats).items()}
    form = "JᵀJ" if rows >= columns else "J D⁻¹Jᵀ (the kernel form)"
    return f"{problem.name}, {size}: J is {rows} × {columns}, {form} {small} × {small}", parts, grams


def gram_calls(jacobian: jax.Array, scale: jax.Array) -> dict[str, Call]:
    """The Gram matrix as one product, and by lower panels of each width including the library's."""
    rows, columns = jacobian.shape
    full = (lambda j, d: (j / d) @ j.T) if rows < columns else (lambda j, d: j.T @ j)
    calls = {"full product": compiled(full, jacobian, scale)}
    small, library_widths = min(rows, columns), (equations.PANEL, equations.WIDE_PANEL)
    library_width = library_widths[0] if small < equations.WIDE else library_widths[1]
    for width in (width for width in sorted({*WIDTHS, library_width}) if width < small):
        equations.PANEL = equations.WIDE_PANEL = width  # it is read during tracing, and each lambda has its own trace
        suffix = " (the library's)" if width == library_width else ""
        calls[f"panels of {width}{suffix}"] = compiled(lambda *a: equations.gram(*a).matrix, jacobian, scale)
    equations.PANEL, equations.WIDE_PANEL = library_widths
    return calls


def report(title: str, parts: dict[str, Part], grams: dict[str, Part]) -> str:
    """The results as Markdown."""
    separate = {name: part for name, part in parts.items() if name != STEP}
    total = sum(part.calls * part.ms for part in separate.values())
    head = "| part | calls per iteration | ms per call | ms per iteration | share | GFLOP/s |"
    lines = [f"\n{title}\n", head, "|---|---|---|---|---|---|"]
    for name, part in separate.items():
        ms = part.calls * part.ms
        lines.append(f"| {name} | {part.calls:g} | {part.ms:.1f} | {ms:.1f} | {ms / total:.0%} | {part.rate()} |")
    lines += [f"| sum | | | {total:.1f} | | |", f"| {STEP} | 1 | {parts[STEP].ms:.1f} | | | |"]
    lines += ["\n| Gram matrix | ms | GFLOP/s |", "|---|---|---|"]
    lines += [f"| {name} | {part.ms:.1f} | {part.rate()} |" for name, part in grams.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default="burgers,taylor_green", help="names, separated by commas")
    parser.add_argument("--sizes", default="student,teacher", help="student, teacher or both, separated by commas")
    parser.add_argument("--repeats", type=int, default=10, help="calls of each part")
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
