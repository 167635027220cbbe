"""The types every module shares. Letters fixed everywhere: d inputs, m fields, n points, k equations."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float

#: A function of ONE point ``z`` of shape (d,), time first, with values of shape (m,).
Field = Callable[[Float[Array, " d"]], Float[Array, " m"]]


class Points(NamedTuple):
    """The rows each term was sampled at.

    Attributes:
        rows: ``{name: (n, columns)}``: the first d columns are coordinates.
        importance: ``{name: (n,)}``, what each row of a term counts for, 1 in the mean; a term without one counts its
            rows alike.
    """

    rows: dict[str, Float[Array, "_n _columns"]]
    importance: dict[str, Float[Array, " _n"]]


#: What Flax's ``init`` returns under ``"params"``.
Params = Mapping[str, Any]

#: The numbers in the equations, ``{"nu": 0.01}``: arguments everywhere, so that a sweep can vmap over them.
Coefficients = Mapping[str, ArrayLike]


def is_traced(*values: Any) -> bool:
    """Whether a value is being traced by jit, vmap or grad, so that its numbers cannot be looked at."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a random key of JAX's typed kind, whose bits are not numbers to compute with."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
