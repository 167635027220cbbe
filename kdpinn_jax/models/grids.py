"""Dense grids over a problem's domain, and its reference on them."""

import functools
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..pde.problem import Problem

#: Points an axis of the dense grid, by the number of axes; training never sees it.
GRID = {1: 1001, 2: 101, 3: 41}
#: Points an axis of the grid watched during training: a look must cost less than a step.
COARSE = {1: 101, 2: 33, 3: 11}
#: Values of each coefficient of a family in the two grids, by how many coefficients it has; both ends are among them.
MEMBERS, COARSE_MEMBERS = {1: 9, 2: 5}, 3
#: Reference values are computed in pieces: a spectral reference holds one number a point and mode.
_PIECE = 4096


def grid(
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    per_axis: int | tuple[int, ...],
    logarithmic: Collection[int] = (),
) -> Float[np.ndarray, "n d"]:
    """The uniform grid on [lower, upper], both ends included, the last axis fastest: (n, d), float64.

    ``per_axis`` is one number of points, or one an axis; the axes ``logarithmic`` are uniform in their logarithm.
    """
    counts = (per_axis,) * len(lower) if isinstance(per_axis, int) else per_axis
    spaced = [np.geomspace if i in logarithmic else np.linspace for i in range(len(lower))]
    axes = [of(a, b, count) for of, a, b, count in zip(spaced, lower, upper, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(lower))


def counts_of(problem: Problem, coarse: bool = False) -> tuple[int, ...]:
    """Points of each axis of a problem's grid."""
    d, p = problem.coordinates, len(problem.family)
    of_members = COARSE_MEMBERS if coarse else MEMBERS.get(p, 3)
    return (COARSE.get(d, 5) if coarse else GRID.get(d, 11),) * d + (of_members,) * p


def reference_values(problem: Problem, coefficients: dict[str, Any], z: Float[np.ndarray, "n d"]) -> np.ndarray:
    """The reference at points z: (n, m), always in float64, whatever the caller's precision.

    Raises:
        ValueError: the problem has no reference, or none at these coefficients.
    """
    field = _compiled_reference(problem, hashable(coefficients))
    # The last piece is filled up with repeats: one compiled size serves every grid.
    filled = np.concatenate([z, np.repeat(z[-1:], -len(z) % _PIECE, axis=0)])
    pieces = [field(filled[i : i + _PIECE]) for i in range(0, len(filled), _PIECE)]
    return np.concatenate(pieces)[: len(z)]


@functools.lru_cache(maxsize=8)
def _compiled_reference(
    problem: Problem, coefficients: tuple[tuple[str, float], ...]
) -> Callable[[np.ndarray], np.ndarray]:
    if problem.reference is None:
        raise ValueError(f"problem {problem.name!r} has no reference solution to compare with")
    start = problem.reference

    def arithmetic(task: Callable[[], Any]) -> Any:
        try:
            with jax.enable_x64(True):
                return task()
        except ArithmeticError as error:  # a Reynolds number of 0, a volatility of 1e300
            raise ValueError(
                f"problem {problem.name!r} has no reference at {dict(coefficients)} ({error}); change the coefficients"
            ) from None

    field = arithmetic(lambda: jax.jit(jax.vmap(start(dict(coefficients)))))
    return lambda z: arithmetic(lambda: np.asarray(field(jnp.asarray(z))))


@functools.lru_cache(maxsize=32)
def on_grid(
    problem: Problem,
    coefficients: tuple[tuple[str, float], ...],
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    counts: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    z = grid(lower, upper, counts, problem.logarithmic)
    return z, reference_values(problem, dict(coefficients), z)


def hashable(coefficients: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, float(value)) for name, value in coefficients.items()))
