"""Weights with which all terms change equally when the parameters do.

A weight is inversely proportional to T = (1/n) Σᵢ |∂rᵢ/∂θ|², the trace of the term's tangent kernel per point, before
training. Terms with a small T, such as boundary values next to second derivatives, would otherwise be learned slowly
(Wang, Yu & Perdikaris 2022, arXiv 2007.14527).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.types import Params
from ..models.model import init_params
from .objective import Objective
from .points import sample
from .residuals import residuals

#: Numbers by term, or weights that are balanced before training.
Weights = Mapping[str, ArrayLike] | Literal["balanced"]
#: The random directions by which the traces are estimated. The relative standard deviation of a trace is about a tenth.
DIRECTIONS = 32


def balanced(objective: Objective, key: Array) -> Objective:
    """The objective with balanced weights, the smallest of which is 1.

    Args:
        objective: its own weights are ignored.
        key: a JAX random key for parameters, points and directions.
    """
    key_params, key_traces = jax.random.split(key)
    params = init_params(objective.problem, objective.network, key_params)
    traces = tangent_traces(replace(objective, weights=dict.fromkeys(objective.terms, 1.0)), params, key_traces)
    largest = jnp.max(jnp.stack(list(traces.values())))
    # A term that does not depend on the parameters keeps the weight 1.
    weights = {
        name: jnp.where(trace > 0, largest / jnp.where(trace > 0, trace, 1.0), 1.0) for name, trace in traces.items()
    }
    return replace(objective, weights=weights)


@jax.jit
def tangent_traces(objective: Objective, params: Params, key: Array) -> dict[str, Float[Array, ""]]:
    """The mean squared length of the rows of each term's Jacobian with respect to the parameters.

    It is estimated by E |J ω|² = |J|² for Gaussian directions ω.

    Args:
        objective: the terms.
        params: the parameters at which they are linearised.
        key: a JAX random key for points and directions.
    """
    key_points, key_directions = jax.random.split(key)
    points = sample(objective, key_points)
    flat, unravel = ravel_pytree(params)

    def changes(key: Array) -> dict[str, Array]:
        direction = unravel(jax.random.normal(key, flat.shape, flat.dtype))
        _, change = jax.jvp(lambda params: residuals(objective, params, points), (params,), (direction,))
        return {name: jnp.mean(jnp.sum(r**2, axis=-1)) for name, r in change.items()}

    squares = jax.lax.map(changes, jax.random.split(key_directions, DIRECTIONS))
    return {name: jnp.mean(values) for name, values in squares.items()}
