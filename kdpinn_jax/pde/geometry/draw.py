"""Samplers of the interior and the boundary of a domain.

Points of a unit cube are mapped to one shape, or to the boundaries of all shapes, and those that do not belong to the
domain are left out.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from ...base.types import Key, Sampler
from ..inside import Predicate, Rejection, kept_fraction
from ..sampling import Design, checked_design, draw_unit_cube
from .shapes import Hyperrectangle, choose

if TYPE_CHECKING:  # a domain makes its samplers
    from .domain import Domain

#: Points of the boundary are tested at this distance from it on both sides, relative to the extent of the domain.
_STEP = {"float64": 1e-9, "float32": 1e-5}


def interior_sampler(domain: "Domain", time: tuple[float, ...], design: Design) -> Sampler:
    """The sampler of ``Domain.interior``, at times in an interval, which are the first column, or without time."""
    first = domain.tree
    while not isinstance(first, int) and first[0] != "or":
        first = first[1]  # the rest of the domain is a part of this one
    checked_design("geometry.interior", design)
    candidates = _Candidates(domain, first if isinstance(first, int) else None, time, design)
    if isinstance(domain.tree, int):
        return candidates
    inside = _Inside(domain, len(time) // 2)
    fraction = kept_fraction(candidates, inside)
    if not fraction:
        raise ValueError("geometry.interior: the domain is empty; check the places and the order of its shapes")
    return Rejection(candidates, inside, None, fraction, sequence=True)


@dataclass(frozen=True)
class _Inside:
    domain: "Domain"
    skip: int  # leading columns, which are not coordinates of space

    def __call__(self, z: Float[Array, " columns"]) -> Bool[Array, ""]:
        return self.domain.level(z[self.skip :]) <= 0


@dataclass(frozen=True)
class _Candidates:
    """Points of one shape, or of the box that contains the domain."""

    domain: "Domain"
    leaf: int | None
    time: tuple[float, ...]
    design: Design

    def __call__(self, key: Key, n: int) -> Float[Array, "n columns"]:
        leaf = None if self.leaf is None else self.domain.leaves[self.leaf]
        shape = Hyperrectangle(self.domain.lower, self.domain.upper) if leaf is None else leaf.shape
        times = len(self.time) // 2
        v = draw_unit_cube(self.design, key, n, shape.inputs + times)

        def place(v: Float[Array, " inputs"]) -> Float[Array, " columns"]:
            x = shape.place(v[times:])
            return jnp.concatenate([_times(self.time, v), x if leaf is None else leaf.outward(x)])

        return jax.vmap(place)(v)


def _times(time: tuple[float, ...], v: Float[Array, " inputs"]) -> Float[Array, " times"]:
    """The time of a point, from the first coordinate of the unit cube; nothing without a time."""
    if not time:
        return jnp.zeros(0, v.dtype)
    start, end = time
    return start + (end - start) * v[:1]


def boundary_sampler(
    domain: "Domain",
    time: tuple[float, ...],
    part: str | None,
    where: Predicate | None,
    normals: bool,
    design: Design,
) -> Sampler:
    """The sampler of ``Domain.boundary``, at times in an interval, which are the first column, or without time."""
    checked_design("geometry.boundary", design)
    walls, kept = _Walls(domain, part, time, design), _OnBoundary(domain, len(time) // 2, where)
    fraction = kept_fraction(walls, kept)
    if not fraction:
        what = "the boundary" if part is None else f"part {part!r} of the boundary"
        reason = "the domain is empty there" if where is None else "'where' holds nowhere on it"
        raise ValueError(f"geometry.boundary: {what} has no points: {reason}")
    return _Boundary(Rejection(walls, kept, None, fraction, sequence=True), domain, len(time) // 2, normals)


@dataclass(frozen=True)
class _Walls:
    """Rows (t, x, n, i) on the boundaries of the shapes: n is the outward normal of the shape with the index i."""

    domain: "Domain"
    part: str | None
    time: tuple[float, ...]
    design: Design

    def __call__(self, key: Key, n: int) -> Float[Array, "n columns"]:
        pieces, times = self.domain.pieces(self.part), len(self.time) // 2
        areas = np.array([piece.area for _, piece in pieces])
        shares = np.cumsum(areas) / areas.sum()
        inputs = max(1, *(piece.inputs for _, piece in pieces), 0)

        def place(v: Float[Array, " inputs"]) -> Float[Array, " columns"]:
            chosen, rest = choose(v[times], jnp.asarray(shares, v.dtype))
            v_piece = v[times:].at[0].set(rest)
            rows = []
            for i, piece in pieces:
                x, normal = piece.place(v_piece[: piece.inputs])
                leaf = self.domain.leaves[i]
                rows.append(jnp.concatenate([leaf.outward(x), leaf.turned(normal), jnp.full(1, i, v.dtype)]))
            return jnp.concatenate([_times(self.time, v), jnp.stack(rows)[chosen]])

        return jax.vmap(place)(draw_unit_cube(self.design, key, n, inputs + times))


def _sides(domain: "Domain", row: Float[Array, " columns"], skip: int) -> tuple[list[Array], list[Array]]:
    """The levels of all shapes on both sides of a point (t, x, n, …) of a boundary, first against the normal."""
    d = domain.dimension
    x, normal = row[skip : skip + d], row[skip + d : skip + 2 * d]
    step = _STEP[str(row.dtype)] * float(np.max(np.subtract(domain.upper, domain.lower)))
    before, behind = ([leaf.level(x + s * step * normal) for leaf in domain.leaves] for s in (-1, 1))
    return before, behind


@dataclass(frozen=True)
class _OnBoundary:
    """Whether the domain is on exactly one side of a point, and the point is on no boundary of an earlier shape."""

    domain: "Domain"
    skip: int
    where: Predicate | None

    def __call__(self, row: Float[Array, " columns"]) -> Bool[Array, ""]:
        before, behind = _sides(self.domain, row, self.skip)
        kept = (self.domain.combine(before) <= 0) != (self.domain.combine(behind) <= 0)
        for i, (a, b) in enumerate(zip(before, behind, strict=True)):
            kept &= ((a <= 0) == (b <= 0)) | (row[-1] <= i)
        if self.where is not None:
            kept &= self.where(row[: self.skip + self.domain.dimension])
        return kept


@dataclass(frozen=True)
class _Boundary:
    """Rows (t, x), or (t, x, 0, n) with the outward normal of the domain."""

    rows: Sampler
    domain: "Domain"
    skip: int
    normals: bool

    def __call__(self, key: Key, n: int) -> Float[Array, "n columns"]:
        rows = self.rows(key, n)
        z = rows[:, : self.skip + self.domain.dimension]
        if not self.normals:
            return z

        def outward(row: Float[Array, " columns"]) -> Float[Array, " d"]:
            _, behind = _sides(self.domain, row, self.skip)
            normal = row[len(z[0]) : len(z[0]) + self.domain.dimension]
            return jnp.where(self.domain.combine(behind) <= 0, -normal, normal)

        no_time = jnp.zeros((n, self.skip), rows.dtype)
        return jnp.concatenate([z, no_time, jax.vmap(outward)(rows)], axis=1)
