"""Grids over a problem's domain, and the values of its reference on them."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..pde.problem import Problem

_T = TypeVar("_T")

#: Points per axis of the dense grid, by the number of axes. Training never uses this grid.
GRID = {1: 1001, 2: 101, 3: 41}
#: The number of coarse points, which monitor the error during training: an evaluation must cost less than a step.
COARSE = 1024
#: Values of each coefficient of a family in the dense grid, by its number of coefficients; both ends are included.
MEMBERS = {1: 9, 2: 5}
#: Reference values are computed in chunks of points: a spectral reference holds one number per point and mode.
_CHUNK = 4096


def grid(
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    per_axis: int | tuple[int, ...],
    logarithmic: Collection[int] = (),
) -> Float[np.ndarray, "n d"]:
    """The uniform grid on [lower, upper], both ends included, the last axis fastest.

    Args:
        lower: lower corner, d numbers.
        upper: upper corner, d numbers.
        per_axis: the number of points per axis, one number for all axes or one for each.
        logarithmic: the axes on which the logarithm is uniform.

    Returns:
        Points (n, d) in float64.
    """
    counts = (per_axis,) * len(lower) if isinstance(per_axis, int) else per_axis
    spaced = [np.geomspace if i in logarithmic else np.linspace for i in range(len(lower))]
    axes = [space(a, b, count) for space, a, b, count in zip(spaced, lower, upper, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(lower))


def grid_counts(problem: Problem) -> tuple[int, ...]:
    """The number of points along each axis of a problem's dense grid."""
    d, p = problem.coordinates, len(problem.family)
    return (GRID.get(d, 11),) * d + (MEMBERS.get(p, 3),) * p


def coarse_points(problem: Problem, n: int) -> Float[np.ndarray, "n d"]:
    """Evenly spread points of a problem's domain, on a family with its coefficients.

    They are those of the R sequence, frac(½ + i/φ, ½ + i/φ², …) with φᵈ⁺¹ = φ + 1. Unlike a grid it has no common
    planes, which may be the zeros of a solution such as sin 20πx.

    Args:
        problem: supplies the domain and its logarithmic axes.
        n: the number of points.

    Returns:
        Points (n, d) in float64.

    Source: Roberts (2018), "The unreasonable effectiveness of quasirandom sequences".
    """
    d = len(problem.axes)
    phi = 2.0
    for _ in range(60):  # a contraction: each iteration gains a digit or more
        phi = (1 + phi) ** (1 / (d + 1))
    unit = (0.5 + np.arange(1, n + 1)[:, None] * phi ** -np.arange(1.0, d + 1)) % 1
    lower, upper = np.array(problem.lower, float), np.array(problem.upper, float)
    z = lower + unit * (upper - lower)
    for i in problem.logarithmic:
        z[:, i] = lower[i] * (upper[i] / lower[i]) ** unit[:, i]
    return z


def reference_values(problem: Problem, coefficients: Mapping[str, Any], z: Float[np.ndarray, "n d"]) -> np.ndarray:
    """The reference at points z (n, d): values (n, m), always in float64, whatever the caller's precision.

    Raises:
        ValueError: the problem has no reference, or it is undefined at these coefficients.
    """
    field = _compiled_reference(problem, hashable(coefficients))
    # The last chunk is padded with repeated points, so that one compiled size serves every grid.
    padded = np.concatenate([z, np.repeat(z[-1:], -len(z) % _CHUNK, axis=0)])
    chunks = [field(padded[i : i + _CHUNK]) for i in range(0, len(padded), _CHUNK)]
    return np.concatenate(chunks)[: len(z)]


@functools.lru_cache(maxsize=8)
def _compiled_reference(
    problem: Problem, coefficients: tuple[tuple[str, float], ...]
) -> Callable[[np.ndarray], np.ndarray]:
    if problem.reference is None:
        raise ValueError(f"problem {problem.name!r} has no reference solution to compare with")
    reference = problem.reference

    def in_float64(compute: Callable[[], _T]) -> _T:
        try:
            with jax.enable_x64(True):
                return compute()
        except ArithmeticError as error:  # a Reynolds number of 0, a volatility of 1e300
            raise ValueError(
                f"problem {problem.name!r} has no reference at {dict(coefficients)} ({error}); change the coefficients"
            ) from None

    field = in_float64(lambda: jax.jit(jax.vmap(reference(dict(coefficients)))))
    return lambda z: in_float64(lambda: np.asarray(field(jnp.asarray(z))))


@functools.lru_cache(maxsize=32)
def reference_on_grid(
    problem: Problem,
    coefficients: tuple[tuple[str, float], ...],
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    counts: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """The points (n, d) of a grid, and the values (n, m) of the reference at them."""
    z = grid(lower, upper, counts, problem.logarithmic)
    return z, reference_values(problem, dict(coefficients), z)


@functools.lru_cache(maxsize=8)
def reference_at_coarse_points(
    problem: Problem, coefficients: tuple[tuple[str, float], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The coarse points (n, d) at which the reference is defined, and its values (n, m) there."""
    z = coarse_points(problem, COARSE)
    values = reference_values(problem, dict(coefficients), z)
    defined = np.isfinite(values).all(axis=1)
    return z[defined], values[defined]


def hashable(coefficients: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Coefficients as a sorted tuple of plain numbers."""
    return tuple(sorted((name, float(value)) for name, value in coefficients.items()))
