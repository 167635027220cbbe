"""Where the residual of a term is discontinuous, found by halving intervals, and its coefficients on both sides."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from ..base.chunks import map_chunks
from ..base.types import Coefficients
from .problem import Problem, Term

#: Derivatives up to this order are examined.
ORDERS = 4
#: Rows per call of the compiled residual.
_BLOCK = 512
#: The lines that are searched, the nodes per line, and the intervals that are halved: twice as many per line.
_LINES, _NODES, _MOST = 256, 33, 2
#: The golden ratio, whose multiples are evenly spread modulo 1.
_GOLDEN = (1 + math.sqrt(5)) / 2
#: Halvings of an interval between nodes, to 5e-10 of the domain.
_HALVINGS = 26
#: A difference is a jump if it exceeds this multiple of the changes over eight times the distance on both sides. A
#: continuous residual that varies steeply changes eight times as much there.
_DISCONTINUOUS = 4.0
#: The smallest jump, relative to the root mean square of the residual, that is no rounding error.
_LEAST = 1e-6


class Probe(NamedTuple):
    """A smooth field of generic values and derivatives in the range of a solution, and the scales of the domain.

    Attributes:
        middle: (m,) the middle of the values of each field.
        half: (m,) half of their range.
        lower: (d,) the lower corner of the domain.
        extent: (d,) its extent.
    """

    middle: Array
    half: Array
    lower: Array
    extent: Array


class ProbedResidual(NamedTuple):
    """The residual of a term for the probe field, at any number of points."""

    term: Term
    coefficients: Coefficients
    probe: Probe

    def __call__(
        self,
        z: Float[np.ndarray, "n d"],
        axes: Int[np.ndarray, " n"],
        bend: Float[np.ndarray, "n m orders"] | None = None,
    ) -> Float[np.ndarray, "n k"]:
        """At points z, for the probe field plus Σⱼ bend[:, :, j] sʲ⁺¹/(j + 1)! along an axis, where s = 0 at z."""
        n, m = len(z), len(self.probe.half)
        bend = np.zeros((n, m, ORDERS)) if bend is None else bend
        call = functools.partial(_residuals, self.term, self.coefficients, self.probe)
        return map_chunks(call, _BLOCK, z, axes, bend)


@jax.jit
def _residuals(
    term: Term, coefficients: Coefficients, probe: Probe, z: Array, axes: Array, bend: Array
) -> Float[Array, "n k"]:
    m, d = len(probe.half), len(probe.extent)
    # The values sweep most of the range, so that a coefficient that jumps at a value of the field is noticed too.
    slopes = jnp.cos(1.0 + jnp.arange(m * d, dtype=z.dtype).reshape(m, d)) * 4 / math.sqrt(d)
    shifts, factorials = 0.2 * jnp.sin(1.0 + jnp.arange(m, dtype=z.dtype)), jnp.cumprod(jnp.arange(1.0, ORDERS + 1))

    def at(row: Array, axis: Array, bend: Array) -> Array:
        def u(z: Array) -> Array:
            along = ((z - row) / probe.extent)[axis]
            powers = jnp.cumprod(jnp.full(ORDERS, along)) / factorials
            generic = jnp.tanh(slopes @ ((z - probe.lower) / probe.extent - 0.5) + shifts)
            return probe.middle + probe.half * (generic + bend @ powers)

        return term.residual(u, row, coefficients)

    return jax.vmap(at)(z, axes, bend)


class Segments(NamedTuple):
    """Segments between points (n, d), each along one axis (n,)."""

    below: Float[np.ndarray, "n d"]
    above: Float[np.ndarray, "n d"]
    axes: Int[np.ndarray, " n"]

    def where(self, mask: Bool[np.ndarray, " n"]) -> "Segments":
        """Some of the segments."""
        return Segments(self.below[mask], self.above[mask], self.axes[mask])


def crossings(problem: Problem, residual: ProbedResidual, region: Float[np.ndarray, "n d"]) -> Segments:
    """Pairs of neighbouring points between which the residual jumps, on some lines.

    Args:
        problem: supplies the axes of time and space, to which the lines are parallel.
        residual: of one term.
        region: the term's points, through some of which the lines pass.
    """
    d = problem.coordinates
    per_axis = min(max(_LINES // d, 64), len(region))
    lines = np.stack(np.meshgrid(np.arange(per_axis), np.arange(d), indexing="ij"), axis=-1).reshape(-1, 2)
    index, axes = np.random.default_rng(0).permutation(lines)[:_LINES].T
    start, end = region.min(axis=0), region.max(axis=0)
    z = np.repeat(region[index][:, None], _NODES, axis=1)
    # The nodes of each line are shifted, because in one interval a jump and a smooth variation may cancel.
    shifts = np.arange(len(axes)) * _GOLDEN % 1.0
    nodes = (np.arange(_NODES) + shifts[:, None]) / _NODES
    z[np.arange(len(axes)), :, axes] = start[axes, None] + (end - start)[axes, None] * nodes
    r = residual(z.reshape(-1, z.shape[-1]), np.repeat(axes, _NODES)).reshape(len(axes), _NODES, -1)
    scale = _scale(r)
    differences = np.diff(r, axis=1)
    before, behind = differences[:, np.arange(-1, _NODES - 2)], differences[:, np.arange(1, _NODES) % (_NODES - 1)]
    # A small jump stands out from the differences around it, although others are larger elsewhere.
    size = np.abs(before) + np.abs(behind) + _LEAST * scale
    prominence = (2 * differences - before - behind) / size
    chosen = [np.argsort(-_size(size), axis=1)[:, :_MOST] for size in (differences / scale, prominence)]
    intervals, line = np.concatenate(chosen, axis=1), np.arange(len(axes))[:, None]
    below, above = (z[line, intervals + i].reshape(-1, z.shape[-1]) for i in (0, 1))
    segments, jumps = halved(residual, Segments(below, above, np.repeat(axes, 2 * _MOST)), scale)
    return segments.where(jumps)


def halved(
    residual: ProbedResidual, segments: Segments, scale: Float[np.ndarray, " k"] | None = None
) -> tuple[Segments, Bool[np.ndarray, " n"]]:
    """Segments reduced to where the residual is least smooth, and whether it jumps there.

    Args:
        residual: of one term.
        segments: to be halved again and again.
        scale: the size of each component of the residual; default that on the segments.
    """
    below, above, axes = segments.below.copy(), segments.above.copy(), segments.axes
    r_below, r_above = residual(below, axes), residual(above, axes)
    scale = _scale(np.stack([r_below, r_above])) if scale is None else scale
    for _ in range(_HALVINGS):
        half = (above - below) / 2
        r = residual(below + half, axes)
        # The half with the jump is the one that differs from the continuation of the other side.
        deviation_below = (r - r_below) - (r_below - residual(below - half, axes))
        deviation_above = (r_above - r) - (residual(above + half, axes) - r_above)
        first = _size(deviation_below / scale) > _size(deviation_above / scale)
        middle = below + half
        above[first], r_above[first] = middle[first], r[first]
        below[~first], r_below[~first] = middle[~first], r[~first]
    width, jump = above - below, np.abs(r_above - r_below)
    change = np.abs(residual(below - 8 * width, axes) - r_below) + np.abs(residual(above + 8 * width, axes) - r_above)
    # A comparison with NaN is false.
    jumps = np.isfinite(jump) & (jump > _LEAST * scale) & (jump > _DISCONTINUOUS * change)
    return Segments(below, above, axes), np.any(jumps, axis=1)


def coefficients_at(
    residual: ProbedResidual, z: Float[np.ndarray, "n d"], axes: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n k m orders"]:
    """How much each component of the residual changes with each derivative of each field along an axis."""
    n, m = len(z), len(residual.probe.half)
    base = residual(z, axes)
    bends = np.eye(m * ORDERS).reshape(-1, 1, m, ORDERS)
    changes = [residual(z, axes, np.broadcast_to(bend, (n, m, ORDERS))) - base for bend in bends]
    return np.stack(changes, axis=-1).reshape(n, base.shape[1], m, ORDERS)


def _scale(r: np.ndarray) -> Float[np.ndarray, " k"]:
    """The root mean square of each component of the residual, where it is finite; 1 if it is zero."""
    r = r.reshape(-1, r.shape[-1])
    finite = np.isfinite(r)
    square = np.sum(np.where(finite, r, 0.0) ** 2, axis=0) / np.maximum(finite.sum(axis=0), 1)
    return np.sqrt(np.where(square > 0, square, 1.0))


def _size(difference: Float[np.ndarray, "*n k"]) -> Float[np.ndarray, "*n"]:
    """The largest component; 0 where it is not finite."""
    return np.max(np.nan_to_num(np.abs(difference), nan=0.0, posinf=0.0), axis=-1)
