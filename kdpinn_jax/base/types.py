"""Types shared by all modules. The letters are the same everywhere: d inputs, m fields, n points, k equations."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray, UInt32

#: A function of ONE point ``z`` of shape (d,), time first, with values of shape (m,).
Field = Callable[[Float[Array, " d"]], Float[Array, " m"]]

#: The parameters of a network, as Flax's ``init`` returns them under ``"params"``.
Params = Mapping[str, Any]

#: The coefficients of an equation, ``{"nu": 0.01}``. They are arguments everywhere, so that a sweep can vmap over them.
Coefficients = Mapping[str, ArrayLike]

#: A random key, typed or raw.
Key = PRNGKeyArray | UInt32[Array, " 2"]

#: One of ``jax.devices()``; type checkers cannot see the class.
Device = Any

#: ``(key, n) -> (n, columns)``: draws the rows of a term.
Sampler = Callable[[Key, int], Float[Array, "n columns"]]

#: ``(u, row, coefficients) -> (k,)``: the residual of a term at ONE row, which must vanish.
Residual = Callable[[Field, Float[Array, " columns"], Coefficients], Float[Array, " k"]]

#: ``(net, z, coefficients) -> u``: builds the field from the network, which is given as a field itself.
Ansatz = Callable[[Field, Float[Array, " d"], Coefficients], Float[Array, " m"]]

#: ``coefficients -> field``: an exact or converged numerical solution.
Reference = Callable[[Mapping[str, Any]], Field]


class Points(NamedTuple):
    """The points at which each term is sampled.

    Attributes:
        rows: ``{term: (n, columns)}``; the first d columns are coordinates.
        importance: ``{term: (n,)}``, the weight of each row of a term, 1 on average. The rows of a term that is missing
            have equal weights.
    """

    rows: dict[str, Float[Array, "_n _columns"]]
    importance: dict[str, Float[Array, " _n"]]


def is_traced(*values: Any) -> bool:
    """Whether any value is being traced by jit, vmap or grad, so that its numbers are not available."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key, whose bits are not numerical data."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
