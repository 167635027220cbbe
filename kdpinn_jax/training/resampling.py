"""``Sampling``: when a stage redraws its points, and how adaptive points are chosen."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


@dataclass(frozen=True)
class Sampling:
    """When a stage redraws its points, how many of them, and from what distribution.

    Attributes:
        every: the number of steps between draws; 0 keeps the first points throughout, 1 redraws before every step.
        adaptive: names of the terms whose later points are drawn with probability p ∝ |r|/mean|r| + 1 from
            ``candidates`` times as many fresh ones (Wu, Zhu, Tan, Kartha & Lu 2023, eq. 2 with k = c = 1).
        candidates: the number of fresh points drawn per adaptive point.
        replace: the fraction of points that a draw replaces after the warm phase, oldest first, rounded to one over an
            integer. With a small fraction the loss changes little from draw to draw.
        warm: the number of steps during which every draw replaces all points.
        unbiased: whether each adaptive point is weighted, after the warm phase, by the inverse of its probability, so
            that the expected loss equals that of evenly drawn points.
        share: the fraction of each term's count that is drawn.

    Raises:
        ValueError: a number is out of range, or ``adaptive`` is given without ``every``.
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
                f"Sampling: adaptive={self.adaptive} requires every=…: a stage's first points are always drawn evenly"
            )
        for name in ("replace", "share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"Sampling: {name}={getattr(self, name)} must be greater than 0 and at most 1")

    def points(self, count: int) -> int:
        """The number of points drawn for a term with this count."""
        return max(1, round(self.share * count))


def importance_resample(key: Array, sizes: Float[Array, " c"], n: int) -> tuple[Array, Float[Array, " n"]]:
    """Draw n of c indices with probability p ∝ size/mean(size) + 1.

    Systematic resampling: n equally spaced levels of the cumulative p under one random shift, so that an index is drawn
    ⌊n p⌋ or ⌈n p⌉ times (Kitagawa 1996). Any periodicity in the order of the candidates carries over to the choice, so
    they must be sorted.

    Args:
        key: a JAX random key.
        sizes: (c,) non-negative numbers, the sizes of the residuals.
        n: the number of indices.

    Returns:
        The indices (n,), and their importance weights 1/(c p) (n,), which make a weighted mean over them unbiased.
    """
    p = sizes / (jnp.mean(sizes) + jnp.finfo(sizes.dtype).tiny) + 1.0
    p = p / jnp.sum(p)
    levels = (jnp.arange(n, dtype=p.dtype) + jax.random.uniform(key, dtype=p.dtype)) / n
    chosen = jnp.minimum(jnp.searchsorted(jnp.cumsum(p), levels), len(p) - 1)
    return chosen, 1 / (len(p) * p[chosen])
