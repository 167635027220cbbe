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
from .sampling import drawn

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
    return np.ones(len(z), bool) if inside is None else at_points(inside, z)


def at_points(function: Callable[[Array], Array], z: Float[np.ndarray, "n d"]) -> np.ndarray:
    """The values of a function of one point at many, computed immediately even inside jit; the program is kept."""
    with jax.ensure_compile_time_eval():
        return np.asarray(_compiled(function)(jnp.asarray(z)))


@functools.lru_cache(maxsize=32)
def _compiled(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return jax.jit(jax.vmap(lambda z: jnp.asarray(function(z))))


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
    d = coordinates or jax.eval_shape(lambda key: sample(key, 2), jax.random.key(0)).shape[1]
    check_predicate(inside, d, "restrict")
    fraction = kept_fraction(sample, inside, d)
    if fraction < _LEAST:
        raise ValueError(
            f"restrict: inside holds at {fraction:.2%} of {_TRIAL} points of the sampler; expected at least "
            f"{_LEAST:.1%}: correct the predicate or sample a smaller box"
        )
    return Rejection(sample, inside, d, fraction)


def kept_fraction(sample: Sampler, inside: Predicate, columns: int | None = None) -> float:
    """The fraction of the points of a sampler at which a predicate holds, measured with some thousand of them.

    Args:
        sample: any sampler.
        inside: row -> one bool, in JAX.
        columns: the number of leading columns to which it applies; default all.
    """
    return float(np.mean(holds(inside, drawn(sample, _TRIAL)[:, :columns])))


@dataclass(frozen=True)
class Rejection:
    """The sampler of those rows of another one at which a predicate holds.

    Attributes:
        sample: draws the candidates.
        inside: row -> one bool, in JAX.
        columns: the number of leading columns to which it applies; None for all.
        fraction: the fraction of the candidates at which it holds.
        sequence: whether the first candidates are as even as all of them, as in a Sobol sequence. They are then taken;
            otherwise one is drawn from each of n equal parts of the sorted candidates (see ``points`` for why they are
            sorted), because equally spaced ones may all be of the same kind.
    """

    sample: Sampler
    inside: Predicate
    columns: int | None
    fraction: float
    sequence: bool = False

    def __call__(self, key: Array, n: int) -> Float[Array, "n columns"]:
        key_rows, key_choice = jax.random.split(key)
        rows = self.sample(key_rows, math.ceil(_SURPLUS / self.fraction) * max(n, 32))
        if not self.sequence:
            rows = rows[jnp.lexsort(rows.T[::-1])]
        inside_rows = jax.vmap(lambda row: jnp.asarray(self.inside(row)))(rows[:, : self.columns])
        first_inside = jnp.argsort(~inside_rows, stable=True)
        count = jnp.maximum(jnp.sum(inside_rows), 1)
        if self.sequence:
            return rows[first_inside[jnp.arange(n) % count]]
        ends = (jnp.arange(n + 1, dtype=rows.dtype) / n * count).astype(int)
        chosen = ends[:-1] + (jax.random.uniform(key_choice, (n,), rows.dtype) * jnp.diff(ends)).astype(int)
        return rows[first_inside[jnp.minimum(chosen, count - 1)]]
