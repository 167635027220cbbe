"""Embeddings: maps from the coordinates of a point to the inputs of a network."""

import math
from collections.abc import Callable, Collection, Sequence

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

    def embed(z: Float[Array, " d"]) -> Float[Array, " d"]:
        a, b = jnp.asarray(lower, z.dtype), jnp.asarray(upper, z.dtype)
        unit = (z - a) * (2 / (b - a)) - 1
        if not logarithmic:
            return unit

        def scale_logarithm(i: int) -> Array:
            return jnp.log(z[i] / lower[i]) * (2 / math.log(upper[i] / lower[i])) - 1

        return jnp.stack([scale_logarithm(i) if i in logarithmic else unit[i] for i in range(len(lower))])

    return embed


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
    scale = scale_to_unit(lower, upper)

    def embed(z: Float[Array, " d"]) -> Float[Array, " e"]:
        unit = scale(z)
        inputs = []
        for axis in range(len(lower)):
            if axis in axes:
                theta = jnp.pi * (unit[axis] + 1) * jnp.arange(1, harmonics + 1, dtype=z.dtype)
                inputs += [jnp.cos(theta), jnp.sin(theta)]
            else:
                inputs.append(unit[axis : axis + 1])
        return jnp.concatenate(inputs)

    return embed
