"""Where the points of a term come from: boxes and their faces, unions, and a schedule for drawing them anew.

A sampler is a pure function ``(key, n) -> (n, columns)``. All three designs are written in JAX, so that a whole
training can be vmapped over keys.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray, UInt32
from scipy.stats import qmc

Sampler = Callable[[PRNGKeyArray | UInt32[Array, " 2"], int], Float[Array, "n columns"]]
Design = Literal["uniform", "latin_hypercube", "sobol"]

#: Sobol points carry 32 bits; the random shift flips bits, so a point needs all of them.
_SOBOL_BITS = 32


def _uniform(key: Array, n: int, d: int) -> Array:
    return jax.random.uniform(key, (n, d))


def _latin_hypercube(key: Array, n: int, d: int) -> Array:
    """One point in each of n equal slices of every axis (McKay, Beckman & Conover 1979)."""
    key_jitter, key_order = jax.random.split(key)
    slices = jax.random.permutation(key_order, jnp.tile(jnp.arange(n)[:, None], (1, d)), axis=0, independent=True)
    return (slices + jax.random.uniform(key_jitter, (n, d))) / n


def _sobol(key: Array, n: int, d: int) -> Array:
    """Sobol points under a random digital shift (XOR), which keeps the net's balance and makes each draw unbiased."""
    points = qmc.Sobol(d, scramble=False, bits=_SOBOL_BITS).random_base2(max(n - 1, 1).bit_length())[:n]
    bits = jnp.asarray((points * 2.0**_SOBOL_BITS).astype(np.uint32))
    shifted = bits ^ jax.random.bits(key, (1, d), jnp.uint32)
    # Half a step up: no point lies on the faces of the box. In float32 the largest integers still round up to 1.
    return jnp.clip((shifted.astype(jnp.zeros(()).dtype) + 0.5) / 2.0**_SOBOL_BITS, 0.0, 1.0)


_DESIGNS: dict[str, Callable[[Array, int, int], Array]] = {
    "uniform": _uniform,
    "latin_hypercube": _latin_hypercube,
    "sobol": _sobol,
}


def box(
    lower: Sequence[float], upper: Sequence[float], design: Design = "sobol", *, logarithmic: Collection[int] = ()
) -> Sampler:
    """A sampler of the box [lower, upper]; an axis with lower == upper stays there, which makes faces and edges.

    Args:
        lower, upper: d numbers each, in the units of the axes.
        design: ``"uniform"`` (independent points), ``"latin_hypercube"`` or ``"sobol"`` (randomised).
        logarithmic: the axes that are sampled evenly in their logarithm; both ends are positive there.

    Returns:
        ``(key, n) -> (n, d)``.

    Raises:
        ValueError: lengths differ, an upper end lies below its lower end, or the design is unknown.
    """
    lower, upper = tuple(map(float, lower)), tuple(map(float, upper))
    if len(lower) != len(upper) or not lower:
        raise ValueError(f"box: lower has {len(lower)} numbers and upper {len(upper)}; give one of each per axis")
    if any(not (a <= b) for a, b in zip(lower, upper, strict=True)):
        raise ValueError(f"box: lower={lower} must not exceed upper={upper} on any axis; swap them")
    if design not in _DESIGNS:
        raise ValueError(f"box: design={design!r} is unknown; use one of {', '.join(_DESIGNS)}")

    def sample(key: Array, n: int) -> Float[Array, "n d"]:
        unit = _DESIGNS[design](key, n, len(lower))
        a, b = jnp.asarray([lower], unit.dtype), jnp.asarray([upper], unit.dtype)
        z = a + (b - a) * unit
        for axis in logarithmic:
            low, high = a[0, axis], b[0, axis]
            z = z.at[:, axis].set(jnp.clip(low * (high / low) ** unit[:, axis], low, high))
        return z

    return sample


def faces(lower: Sequence[float], upper: Sequence[float], axes: Sequence[int], design: Design = "sobol") -> Sampler:
    """A sampler of both faces of the box across each of ``axes``: (key, n) -> (n, d), n shared out evenly."""
    ends = []
    for axis in axes:
        for end in (lower[axis], upper[axis]):
            low, high = list(lower), list(upper)
            low[axis] = high[axis] = end
            ends.append(box(low, high, design))
    return union(*ends)


def union(*samplers: Sampler) -> Sampler:
    """A sampler of several sets at once, n shared out evenly (the first ones get the remainder)."""

    def sample(key: Array, n: int) -> Float[Array, "n columns"]:
        counts = [n // len(samplers) + (i < n % len(samplers)) for i in range(len(samplers))]
        keys = jax.random.split(key, len(samplers))
        return jnp.concatenate([draw(k, c) for draw, k, c in zip(samplers, keys, counts, strict=True) if c])

    return sample


@dataclass(frozen=True)
class Sampling:
    """When a stage draws its points anew, how many of them, and whether where the residual is large.

    Attributes:
        every: steps between draws; 0 keeps the stage's first points to its end, 1 has new ones from the first step on.
        adaptive: names of the terms drawn, after the first points, with probability p ∝ |r|/mean|r| + 1 from
            ``candidates`` times as many fresh ones (Wu, Zhu, Tan, Kartha & Lu 2023, eq. 2 with k = c = 1).
        candidates: fresh points drawn for each adaptive point kept.
        replace: the share of the points, the oldest, that a draw replaces once the warm phase is over, rounded to one
            in a whole number: the loss then changes little from draw to draw.
        warm: the steps during which every draw replaces all points.
        unbiased: after the warm phase, weigh each adaptive point by the inverse of its probability, so that the
            expected loss is that of points drawn evenly.
        share: the share of each term's count that is drawn.
    """

    every: int = 0
    adaptive: tuple[str, ...] = ()
    candidates: int = 10
    replace: float = 1.0
    warm: int = 0
    unbiased: bool = False
    share: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("every", 0), ("candidates", 1), ("warm", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"Sampling: {name}={getattr(self, name)} must be at least {least}")
        if self.adaptive and not self.every:
            raise ValueError(
                f"Sampling: adaptive={self.adaptive} needs every=… steps: the first points are drawn evenly"
            )
        for name in ("replace", "share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"Sampling: {name}={getattr(self, name)} must be above 0 and at most 1")

    def points(self, count: int) -> int:
        """How many points of a term with this count are drawn."""
        return max(1, round(self.share * count))


def choose_by_size(key: Array, sizes: Float[Array, " c"], n: int) -> tuple[Array, Float[Array, " n"]]:
    """n of c indices, p ∝ size/mean(size) + 1, and for each 1/(c p), which makes a weighted mean over them unbiased.

    Systematic resampling: n equally spaced levels of the cumulative p under one random shift, so that an index comes
    up ⌊n p⌋ or ⌈n p⌉ times (Kitagawa 1996). What repeats in the order of the indices repeats in the choice: sort them.
    """
    p = sizes / (jnp.mean(sizes) + jnp.finfo(sizes.dtype).tiny) + 1.0
    p = p / jnp.sum(p)
    levels = (jnp.arange(n, dtype=p.dtype) + jax.random.uniform(key, dtype=p.dtype)) / n
    chosen = jnp.minimum(jnp.searchsorted(jnp.cumsum(p), levels), len(p) - 1)
    return chosen, 1 / (len(p) * p[chosen])
