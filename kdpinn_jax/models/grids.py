"""The points at which errors are measured: grids, low-discrepancy points, and the values of the reference at them."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..base.chunks import map_chunks
from ..base.names import one_line
from ..pde.checks import check_field
from ..pde.inside import holds
from ..pde.problem import Problem
from ..pde.reference_at import PointReference
from ..pde.sampling import MOST_SOBOL_AXES, sobol_points

_T = TypeVar("_T")

#: Points per axis of the dense grid, by the number of coordinates. Training never uses this grid. A grid covers up to
#: three coordinates well, and published numbers refer to it; from four coordinates on it is replaced by points of low
#: discrepancy, whose number does not depend on the dimension.
GRID = {1: 1001, 2: 101, 3: 41}
#: The number of low-discrepancy points, the largest number of coordinates of all of them together, and the least number
#: of points: 16384 points in up to 1024 dimensions.
POINTS, MOST_NUMBERS, LEAST_POINTS = 2**14, 2**24, 2**8
#: The points that monitor the error during training, of low discrepancy in any dimension: a coarse grid may lie on the
#: zeros of an oscillating solution. An evaluation must cost less than a step.
COARSE = 2**10
#: Values of each coefficient of a family, by the number of coefficients, with both ends. From four coefficients on the
#: members are low-discrepancy points of the ranges.
MEMBERS, COARSE_MEMBERS = {1: 9, 2: 5, 3: 3}, {1: 3, 2: 3, 3: 3}
SCATTERED_MEMBERS, COARSE_SCATTERED_MEMBERS = 64, 16
#: A domain within its box that contains fewer points than this is sampled by more points, up to the second number.
FEW_INSIDE, MOST_CANDIDATES = 2**8, 2**20
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


def low_discrepancy(
    lower: tuple[float, ...], upper: tuple[float, ...], n: int, logarithmic: Collection[int] = ()
) -> Float[np.ndarray, "n d"]:
    """n fixed Sobol points of the box [lower, upper], shifted so that none has a special position.

    In more dimensions than there are Sobol sequences the points are random, and as fixed.

    Args:
        lower: lower corner, d numbers.
        upper: upper corner, d numbers.
        n: the number of points, best a power of two.
        logarithmic: the axes on which the logarithm is uniform.

    Returns:
        Points (n, d) in float64.
    """
    d, random = len(lower), np.random.default_rng(0)
    unit = random.random((n, d)) if d > MOST_SOBOL_AXES else (sobol_points(n, d) + random.random(d)) % 1.0
    a, b = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    z = a + (b - a) * unit
    for axis in logarithmic:
        z[:, axis] = a[axis] * (b[axis] / a[axis]) ** unit[:, axis]
    return z


def domain_points(
    problem: Problem, box: tuple[tuple[float, ...], tuple[float, ...]] | None = None, *, coarse: bool = False
) -> tuple[Float[np.ndarray, "n d"], int]:
    """The points at which the errors of a problem are measured.

    Args:
        problem: the problem.
        box: the lower and upper corner of another region; default the domain, including ``problem.inside``.
        coarse: whether to return the few points that monitor a training.

    Returns:
        The points (n, d), and the number q of members of a family: the members alternate, so that every q-th point
        belongs to the same one.

    Raises:
        ValueError: ``problem.inside`` holds at none of the points.
    """
    d, p = problem.coordinates, len(problem.family)
    lower, upper = box or (problem.lower, problem.upper)
    members = np.zeros((1, 0))
    if p:
        counts = COARSE_MEMBERS if coarse else MEMBERS
        logarithmic = [axis - d for axis in problem.logarithmic]
        scattered = COARSE_SCATTERED_MEMBERS if coarse else SCATTERED_MEMBERS
        ends = lower[d:], upper[d:]
        members = grid(*ends, counts[p], logarithmic) if p in counts else low_discrepancy(*ends, scattered, logarithmic)
    ends = lower[:d], upper[:d]
    if d in GRID and not coarse:
        z = grid(*ends, GRID[d])
    else:
        z = low_discrepancy(*ends, COARSE if coarse else _number_of_points(len(problem.axes), len(members)))
    if box is None:
        z = _inside(problem, z)
    return np.concatenate([np.repeat(z, len(members), axis=0), np.tile(members, (len(z), 1))], axis=1), len(members)


def _number_of_points(axes: int, members: int) -> int:
    """The number of low-discrepancy points, a power of two, for each of the members."""
    most = max(min(POINTS, MOST_NUMBERS // (axes * members)), LEAST_POINTS)
    return 1 << (most.bit_length() - 1)


def _inside(problem: Problem, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "_inside d"]:
    """The points that belong to the domain; more points are drawn from its box if they are few."""
    if problem.inside is None:
        return z
    chosen = z[holds(problem.inside, z)]
    d, candidates = z.shape[1], max(len(z), FEW_INSIDE)
    while len(chosen) < FEW_INSIDE and candidates < MOST_CANDIDATES and candidates * d < MOST_NUMBERS:
        candidates *= 8
        z = low_discrepancy(problem.lower[:d], problem.upper[:d], candidates)
        chosen = z[holds(problem.inside, z)]
    if not len(chosen):
        raise ValueError(
            f"Problem {problem.name!r}: inside holds at none of {len(z)} points of the box {problem.lower[:d]} to "
            f"{problem.upper[:d]}; correct the predicate, or fit lower and upper to the domain"
        )
    return chosen


#: The form of a reference, for messages.
_FORM = "reference must be coefficients -> (z -> u), such as lambda c: lambda z: jnp.sin(c['k'] * z)"


class UndefinedReference(ValueError):
    """A reference that has no values at these coefficients."""


class ReferencePoints(NamedTuple):
    """Points at which the reference is finite, and its values.

    Attributes:
        z: the points (n, d).
        exact: the reference (n, m).
        member: (n,), the index of the family member to which each point belongs.
        excluded: the number of points that were left out because the reference is not finite there.
    """

    z: Float[np.ndarray, "n d"]
    exact: Float[np.ndarray, "n m"]
    member: Int[np.ndarray, " n"]
    excluded: int


def reference_points(
    problem: Problem,
    coefficients: Mapping[str, Any],
    box: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    *,
    coarse: bool = False,
) -> ReferencePoints:
    """``domain_points`` with the values of the reference, without the points at which it is not finite.

    The points of a ``PointReference`` are its own.

    Raises:
        UndefinedReference: the reference is finite nowhere in the domain.
        ValueError: ``reference_values`` or ``domain_points`` fails, or the columns of a ``PointReference`` do not fit.
    """
    if isinstance(problem.reference, PointReference):
        return _given_points(problem, problem.reference, coarse)
    return _reference_points(problem, hashable(coefficients), box, coarse)


def _given_points(problem: Problem, reference: PointReference, coarse: bool) -> ReferencePoints:
    (n, d), m = reference.z.shape, reference.values.shape[1]
    if (d, m) != (len(problem.axes), len(problem.fields)):
        raise ValueError(
            f"problem {problem.name!r}: the reference has {d} coordinates and {m} fields; expected the axes "
            f"{', '.join(problem.axes)} and the fields {', '.join(problem.fields)}"
        )
    chosen = slice(None, None, max(n // COARSE, 1) if coarse else 1)
    z = reference.z[chosen]
    return ReferencePoints(z, reference.values[chosen], np.zeros(len(z), int), 0)


@functools.lru_cache(maxsize=32)
def _reference_points(
    problem: Problem,
    coefficients: tuple[tuple[str, float], ...],
    box: tuple[tuple[float, ...], tuple[float, ...]] | None,
    coarse: bool,
) -> ReferencePoints:
    z, members = domain_points(problem, box, coarse=coarse)
    exact = reference_values(problem, dict(coefficients), z)
    finite = np.isfinite(exact).all(axis=1)
    if box is None and not finite.any():
        raise UndefinedReference(
            f"problem {problem.name!r}: the reference is finite at none of {len(z)} points of the domain; correct it, "
            "exclude a region by Problem(inside=...), or set reference=None"
        )
    return ReferencePoints(z[finite], exact[finite], (np.arange(len(z)) % members)[finite], int(np.sum(~finite)))


def reference_values(problem: Problem, coefficients: Mapping[str, Any], z: Float[np.ndarray, "n d"]) -> np.ndarray:
    """The reference at points z (n, d): values (n, m), always in float64, whatever the caller's precision.

    Raises:
        UndefinedReference: the reference is undefined at these coefficients.
        ValueError: the problem has no reference, or it does not return one value per field.
    """
    field = _compiled_reference(problem, hashable(coefficients))
    return map_chunks(field, _CHUNK, z)


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
            raise UndefinedReference(
                f"problem {problem.name!r} has no reference at {dict(coefficients)} ({error}); change the coefficients"
            ) from None
        except (TypeError, AttributeError, KeyError, IndexError) as error:
            raise ValueError(
                f"problem {problem.name!r}: {_FORM} ({type(error).__name__}: {one_line(error)})"
            ) from error

    field_at_point = in_float64(lambda: reference(dict(coefficients)))
    if not callable(field_at_point):
        raise ValueError(f"problem {problem.name!r}: {_FORM}, not {type(field_at_point).__name__}")
    in_float64(
        lambda: check_field(f"problem {problem.name!r}: reference", problem, lambda net, z, c: field_at_point(z))
    )
    field = jax.jit(jax.vmap(field_at_point))
    return lambda z: in_float64(lambda: np.asarray(field(jnp.asarray(z))))


def hashable(coefficients: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Coefficients as a sorted tuple of plain numbers."""
    return tuple(sorted((name, float(value)) for name, value in coefficients.items()))
