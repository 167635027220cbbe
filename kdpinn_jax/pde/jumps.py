"""Coefficients of derivatives that jump in one field, which residuals at points cannot notice.

If k jumps at y = ½, the solution of (k uᵧ)ᵧ = 0 has a kink there, so that the flux k uᵧ is continuous. A network is
smooth, and its residual k uᵧᵧ can vanish at all points on both sides although the flux is wrong.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ..base.types import Coefficients, Field
from ._crossings import Probe, ProbedResidual, Segments, coefficients_at, crossings, halved
from .derivatives import derivative
from .inside import holds
from .problem import Problem, Term
from .regions import term_kind

#: The points that define the region of a term, and those that tell where a condition is.
_REGION_POINTS, _CONDITION_POINTS = 1024, 64
#: The smallest relative jump of a coefficient within a term, and between two terms, whose points are apart.
_LEAST, _LEAST_BETWEEN = 1e-3, 0.3
#: A coefficient below this fraction of the others is rounding error.
_ROUNDING = 1e-11
#: The distance, relative to the domain, within which a point of an interface condition lies at a jump.
_NEAR = 0.02
#: The most axes along which it is tested.
_MOST_AXES = 8
#: A point belongs to a region if it is at most this many spacings from its points.
_SPACINGS = 3.0


class Jump(NamedTuple):
    """A coefficient of a derivative that jumps.

    Attributes:
        terms: the name of the term, or of two terms between which it jumps.
        field: the name of the field.
        axis: the name of the axis of the derivative, along which the jump is met.
        order: the order of the derivative.
        highest: whether the equation has no higher derivative of the field along the axis.
        place: the coordinates of the nearest point before the jump, by axis.
        above: those of the nearest point behind it.
        ratio: the larger coefficient divided by the smaller one, in absolute values; infinite if that is 0.
        moves: whether the place depends on the values of the fields.
    """

    terms: tuple[str, ...]
    field: str
    axis: str
    order: int
    highest: bool
    place: dict[str, float]
    above: dict[str, float]
    ratio: float
    moves: bool = False

    def describe(self) -> str:
        """Which coefficient jumps, and where."""
        power = "" if self.order == 1 else "⁰¹²³⁴"[self.order]
        where = " and ".join(map(repr, self.terms))
        where = f"in term {where}" if len(self.terms) == 1 else f"between terms {where}"
        size = f"by a factor of {self.ratio:.3g}" if math.isfinite(self.ratio) else "to zero"
        place = "at " + ", ".join(f"{name} = {value:.4g}" for name, value in self.place.items())
        place = "where a field takes a certain value" if self.moves else place
        return f"the coefficient of ∂{power}{self.field}/∂{self.axis}{power} {where} jumps {size} {place}"

    def warning(self) -> str:
        """The same, with what it means and what to do."""
        return (
            f"{self.describe()}: residuals at points do not notice whether the flux is continuous there; use one field "
            "per side and a term for the interface (docs/own_pde.md, 'Two materials'), or, if the next lower "
            f"derivative of {self.field} is continuous, divide the residual by the coefficient"
        )


class _Region(NamedTuple):
    """A term that fills a part of the domain, with its points."""

    name: str
    residual: ProbedResidual
    z: Float[np.ndarray, "n d"]

    def contains(self, z: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
        """Whether points lie among those of the region, or at its edge."""
        return self.nearest(z)[0] <= _SPACINGS

    def nearest(self, z: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n d"]]:
        """The distance of points from the nearest one of the region, in spacings, and that point."""
        extent = np.asarray(self.residual.probe.extent)
        tree = _tree(self.z / extent)
        spacing = np.median(tree.query(self.z / extent, k=2)[0][:, 1])
        distance, index = tree.query(z / extent)
        return distance / spacing, self.z[index]


def _tree(z: np.ndarray) -> Any:
    from scipy.spatial import KDTree  # it takes a tenth of a second to import

    return KDTree(z)


def coefficient_jumps(
    problem: Problem,
    terms: Mapping[str, Term],
    coefficients: Coefficients,
    field: Field,
    values: Float[np.ndarray, "n m"],
) -> tuple[Jump, ...]:
    """The coefficients of derivatives that jump in the domain, where nothing else is required of the solution.

    The residual of a smooth probe field is evaluated along lines parallel to the axes, and the intervals with the
    largest differences are halved until a continuous residual hardly changes. The coefficients on both sides are the
    changes of the residual as a derivative of the probe field changes.

    A jump of a source or of the coefficient of the field itself is none, because it leaves the flux continuous. Jumps
    are also left out where another term is sampled (an interface condition), and where the field has a kink by its
    embedding or ansatz. Two terms on adjacent regions are compared as one.

    Args:
        problem: supplies axes, fields and the domain.
        terms: the equations and all conditions, including those that an ansatz enforces.
        coefficients: the coefficients of the equation.
        field: a network of the problem.
        values: (n, m) values of the field, whose range the probe field has.

    Returns:
        At most two jumps per term, the largest of the highest derivatives and that of the others.
    """
    with jax.enable_x64(True):
        low, high = np.min(values, axis=0).astype(float), np.max(values, axis=0).astype(float)
        half = np.maximum((high - low) / 2, 1e-3 * np.maximum(np.abs(low), np.abs(high)))
        lower, upper = (jnp.asarray(corner, jnp.float64) for corner in (problem.lower, problem.upper))
        probe = Probe(jnp.asarray((low + high) / 2), jnp.asarray(np.where(half > 0, half, 1.0)), lower, upper - lower)
        points, regions = {}, []
        for name, term in terms.items():
            rows = np.asarray(term.sample(jax.random.key(3), term.count), np.float64)
            kind = term_kind(problem, rows)
            if kind == "data":
                continue
            z = np.random.default_rng(0).permutation(rows[:, : len(problem.axes)])[:_REGION_POINTS]
            points[name] = z[:_CONDITION_POINTS]
            if kind == "equation":
                regions.append(_Region(name, ProbedResidual(term, coefficients, probe), z))
        jumps = [jump for region in regions for jump in _within(problem, region, points, field)]
        jumps += [jump for pair in combinations(regions, 2) for jump in _between(problem, *pair, points)]
    return tuple(jumps)


def _within(problem: Problem, region: _Region, points: Mapping[str, np.ndarray], field: Field) -> list[Jump]:
    """The jumps in one term."""
    residual = region.residual
    found = crossings(problem, residual, region.z)
    if len(found.axes):
        inside = holds(problem.inside, found.below[:, : problem.coordinates])
        found = found.where(inside & region.contains(found.below))
    for name, rows in points.items():
        if name != region.name and len(found.axes) and _lie_at_jumps(problem, residual, rows):
            found = found.where(~_are_near(problem, rows, found.below))
    if len(found.axes):
        found = found.where(~_have_kinks(found, field))
    if not len(found.axes):
        return []
    below, above = (coefficients_at(residual, z, found.axes) for z in (found.below, found.above))
    jumps = _largest(problem, (region.name,), found, below, above, _LEAST)
    return [jump._replace(moves=_moves(problem, residual, jump)) for jump in jumps]


def _between(problem: Problem, a: _Region, b: _Region, points: Mapping[str, np.ndarray]) -> list[Jump]:
    """The jumps between two terms on regions that are adjacent without overlapping."""
    distance, nearest = b.nearest(a.z)
    if np.mean(distance <= 1) > 0.5 or np.mean(a.nearest(b.z)[0] <= 1) > 0.5:
        return []
    order = np.argsort(distance)[:_CONDITION_POINTS]
    order = order[distance[order] <= _SPACINGS]
    apart = np.abs((nearest - a.z)[order] / np.asarray(a.residual.probe.extent))
    found = Segments(a.z[order], nearest[order], np.argmax(apart[:, : problem.coordinates], axis=1))
    for name, rows in points.items():
        if name not in (a.name, b.name) and np.mean(a.contains(rows) & b.contains(rows)) >= 0.5:
            found = found.where(~_are_near(problem, rows, found.below))
    if not len(found.axes):
        return []
    pairs = ((a.residual, found.below), (b.residual, found.above))
    below, above = (np.abs(coefficients_at(r, z, found.axes)).max(axis=1, keepdims=True) for r, z in pairs)
    # Equations of different order, or in different fields, are no two forms of one equation.
    present = [size > _ROUNDING * np.max(size, axis=(2, 3), keepdims=True) for size in (below, above)]
    same = np.all(present[0] == present[1], axis=3, keepdims=True)
    return _largest(problem, (a.name, b.name), found, below * same, above * same, _LEAST_BETWEEN)


def _largest(
    problem: Problem,
    names: tuple[str, ...],
    found: Segments,
    below: Float[np.ndarray, "n k m orders"],
    above: Float[np.ndarray, "n k m orders"],
    least: float,
) -> list[Jump]:
    """The largest jump of the coefficient of a highest derivative, and that of any other one."""
    size, smaller = np.maximum(np.abs(below), np.abs(above)), np.minimum(np.abs(below), np.abs(above))
    present = size > _ROUNDING * np.max(size, axis=(2, 3), keepdims=True)
    jumping = present & (np.abs(above - below) > least * size)
    higher = np.flip(np.cumsum(np.flip(present, axis=3), axis=3), axis=3) - present > 0
    vanishes = smaller <= _ROUNDING * size
    ratio = np.where(vanishes, math.inf, size / np.where(vanishes, 1.0, smaller))
    jumps = []
    for highest in (True, False):
        where = np.argwhere(jumping & (higher != highest))
        if len(where):
            i, component, f, j = max(where, key=lambda index: ratio[tuple(index)])
            place, behind = (dict(zip(problem.axes, map(float, z[i]), strict=True)) for z in (found.below, found.above))
            axis, value = problem.axes[found.axes[i]], float(ratio[i, component, f, j])
            jumps.append(Jump(names, problem.fields[f], axis, int(j) + 1, highest, place, behind, value))
    return jumps


def _lie_at_jumps(problem: Problem, residual: ProbedResidual, rows: Float[np.ndarray, "n d"]) -> bool:
    """Whether most points of another term lie where a residual jumps, so that it is an interface condition."""
    lower, extent = np.asarray(problem.lower), np.subtract(problem.upper, problem.lower)
    axes = np.random.default_rng(0).permutation(problem.coordinates)[:_MOST_AXES]
    step = _NEAR * extent * np.eye(len(extent))[axes]
    # The points are not in the middle, which the halving would meet at once.
    below, above = (np.clip(rows[:, None] + s * step, lower, lower + extent) for s in (-1.0, 1.1))
    below, above = (z.reshape(-1, rows.shape[1]) for z in (below, above))
    _, jumps = halved(residual, Segments(below, above, np.tile(axes, len(rows))))
    return bool(np.mean(jumps.reshape(len(rows), -1).any(axis=1)) >= 0.5)


def _are_near(problem: Problem, rows: Float[np.ndarray, "n d"], z: Float[np.ndarray, "p d"]) -> Bool[np.ndarray, " p"]:
    """Whether points are as near to a point of an interface condition as its points are to each other."""
    extent, d = np.subtract(problem.upper, problem.lower), problem.coordinates
    spacing = _SPACINGS * len(rows) ** (-1 / (d - 1)) if d > 1 else 0.0
    return _tree(rows / extent).query(z / extent)[0] <= max(spacing, _NEAR)


def _moves(problem: Problem, residual: ProbedResidual, jump: Jump) -> bool:
    """Whether the coefficient no longer jumps at its place if the values of the fields are others."""
    probe, axis = residual.probe, problem.axes.index(jump.axis)
    moved = residual._replace(probe=probe._replace(middle=probe.middle + 0.3 * probe.half))
    z = np.array([list(jump.place.values()), list(jump.above.values())])
    below, above = coefficients_at(moved, z, np.array([axis, axis]))[
        :, :, problem.fields.index(jump.field), jump.order - 1
    ]
    return bool(np.all(np.abs(above - below) <= _LEAST * np.maximum(np.abs(above), np.abs(below))))


def _have_kinks(found: Segments, field: Field) -> Bool[np.ndarray, " n"]:
    """Whether the derivative of the field along the axis jumps too."""
    kinks = np.zeros(len(found.axes), bool)
    for axis in np.unique(found.axes):
        here = found.axes == axis
        slope = jax.jit(jax.vmap(derivative(field, int(axis))))
        below, above = (np.asarray(slope(jnp.asarray(z[here]))) for z in (found.below, found.above))
        larger = np.maximum(np.abs(above), np.abs(below))
        kinks[here] = np.any(np.abs(above - below) > _LEAST * larger, axis=1)
    return kinks
