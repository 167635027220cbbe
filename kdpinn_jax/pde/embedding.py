"""Embeddings: maps from the coordinates of a point to the inputs of a network."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

#: z (d,) -> network inputs (e,).
Embedding = Callable[[Float[Array, " d"]], Float[Array, " e"]]


def scale_to_unit(lower: Sequence[float], upper: Sequence[float], *, logarithmic: Collection[int] = ()) -> Embedding:
    """The default embedding: each coordinate is mapped from [lower, upper] to [−1, 1].

    Args:
        lower: lower corner of the box, d numbers.
        upper: upper corner of the box, d numbers.
        logarithmic: the axes that are mapped by their logarithm; all others are mapped linearly.
    """
    return _ScaleToUnit(tuple(map(float, lower)), tuple(map(float, upper)), tuple(logarithmic))


@dataclass(frozen=True)
class _ScaleToUnit:
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    logarithmic: tuple[int, ...] = ()

    def __call__(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        a, b = jnp.asarray(self.lower, z.dtype), jnp.asarray(self.upper, z.dtype)
        unit = (z - a) * (2 / (b - a)) - 1
        if not self.logarithmic:
            return unit

        def scale_logarithm(i: int) -> Array:
            return jnp.log(z[i] / self.lower[i]) * (2 / math.log(self.upper[i] / self.lower[i])) - 1

        return jnp.stack([scale_logarithm(i) if i in self.logarithmic else unit[i] for i in range(len(self.lower))])


def periodic_embedding(
    lower: Sequence[float], upper: Sequence[float], axes: Sequence[int], harmonics: int = 1
) -> Embedding:
    """An embedding that is exactly periodic: cos(jθ), sin(jθ) with θ = 2π(z − lower)/(upper − lower).

    Args:
        lower: lower corner of the box, d numbers.
        upper: upper corner of the box, d numbers.
        axes: the periodic axes; all other coordinates are scaled to [−1, 1].
        harmonics: the number of harmonics, j = 1…harmonics.
    """
    return _PeriodicEmbedding(scale_to_unit(lower, upper), tuple(axes), harmonics)


@dataclass(frozen=True)
class _PeriodicEmbedding:
    scale: Embedding
    axes: tuple[int, ...]
    harmonics: int

    def __call__(self, z: Float[Array, " d"]) -> Float[Array, " e"]:
        unit = self.scale(z)
        inputs = []
        for axis in range(len(z)):
            if axis in self.axes:
                theta = jnp.pi * (unit[axis] + 1) * jnp.arange(1, self.harmonics + 1, dtype=z.dtype)
                inputs += [jnp.cos(theta), jnp.sin(theta)]
            else:
                inputs.append(unit[axis : axis + 1])
        return jnp.concatenate(inputs)
