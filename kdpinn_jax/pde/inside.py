"""Domains that are not boxes: a predicate says where the domain lies within its box, and restricts samplers to it."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from ..base.types import Sampler

#: z (d,) -> whether the point belongs to the domain: one bool, written in JAX.
Predicate = Callable[[Float[Array, " d"]], Bool[Array, ""]]

#: ``restrict`` draws this many points for each point that it expects to keep.
_SURPLUS = 2.0
#: The number of points from which ``restrict`` measures the fraction that it keeps, and the least fraction. Below it,
#: a draw of 1000 points would discard two million.
_TRIAL, _LEAST = 4096, 1e-3


def check_predicate(inside: Predicate, d: int, owner: str) -> None:
    """Raise ValueError unless ``inside`` maps a point (d,) to one bool under JAX's transformations.

    Args:
        inside: the predicate.
        d: the number of coordinates.
        owner: what has the predicate, for the message.
    """
    try:
        result = jax.eval_shape(inside, jax.ShapeDtypeStruct((d,), jax.dtypes.canonicalize_dtype(float)))
    except jax.errors.JAXTypeError:  # ``and``, ``if`` or NumPy on a traced point
        raise ValueError(
            f"{owner}: inside cannot be traced; write it with jax.numpy for one point z ({d},), with & and | in place "
            "of 'and' and 'or'"
        ) from None
    except (TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{owner}: inside fails at a point z ({d},): {str(error).splitlines()[0]}; expected z -> one bool"
        ) from None
    shape, dtype = getattr(result, "shape", None), getattr(result, "dtype", type(result).__name__)
    if shape != () or dtype != np.bool_:
        raise ValueError(
            f"{owner}: inside returns shape {shape} of {dtype} at a point z ({d},); expected one bool, such as "
            "z[0] ** 2 + z[1] ** 2 < 1"
        )


def holds(inside: Predicate | None, z: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
    """Where the predicate holds, computed immediately even inside jit; everywhere without a predicate."""
    if inside is None:
        return np.ones(len(z), bool)
    with jax.ensure_compile_time_eval():
        return np.asarray(_compiled(inside)(jnp.asarray(z)))


@functools.lru_cache(maxsize=32)
def _compiled(inside: Predicate) -> Callable[[Array], Array]:
    return jax.jit(jax.vmap(lambda z: jnp.asarray(inside(z))))


def restrict(sample: Sampler, inside: Predicate, *, coordinates: int | None = None) -> Sampler:
    """The sampler of those points of another sampler at which a predicate holds, by rejection.

        disc = kd.restrict(kd.box((-1, -1), (1, 1)), lambda z: z[0] ** 2 + z[1] ** 2 < 1)

    Args:
        sample: any sampler, such as ``box`` or ``faces``.
        inside: z (d,) -> one bool, in JAX.
        coordinates: the number d of leading columns to which ``inside`` applies; default all.

    Returns:
        ``(key, n) -> (n, d)``, as even as the points of ``sample``.

    Raises:
        ValueError: the predicate does not return one bool, or it holds at fewer than one in a thousand points.
    """
    with jax.ensure_compile_time_eval():
        trial = np.asarray(sample(jax.random.key(0), _TRIAL))
    d = coordinates or trial.shape[1]
    check_predicate(inside, d, "restrict")
    fraction = float(np.mean(holds(inside, trial[:, :d])))
    if fraction < _LEAST:
        raise ValueError(
            f"restrict: inside holds at {fraction:.2%} of {_TRIAL} points of the sampler; expected at least "
            f"{_LEAST:.1%}: correct the predicate or sample a smaller box"
        )
    if fraction == 1.0:
        return sample
    return _Restricted(sample, inside, d, math.ceil(_SURPLUS / fraction))


@dataclass(frozen=True)
class _Restricted:
    """Equally spaced choices among the sorted candidates inside; see ``points`` for why they are sorted."""

    sample: Sampler
    inside: Predicate
    coordinates: int
    factor: int

    def __call__(self, key: Array, n: int) -> Float[Array, "n columns"]:
        key_rows, key_shift = jax.random.split(key)
        rows = self.sample(key_rows, self.factor * max(n, 32))
        rows = rows[jnp.lexsort(rows.T[::-1])]
        inside_rows = jax.vmap(lambda z: jnp.asarray(self.inside(z)))(rows[:, : self.coordinates])
        first_inside = jnp.argsort(~inside_rows, stable=True)
        levels = (jnp.arange(n, dtype=rows.dtype) + jax.random.uniform(key_shift, dtype=rows.dtype)) / n
        count = jnp.maximum(jnp.sum(inside_rows), 1)
        return rows[first_inside[jnp.minimum((levels * count).astype(int), count - 1)]]
