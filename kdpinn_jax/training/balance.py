"""The weights of conditions that have none, with which each counts ten times as much as the equations.

A weight is the ratio of traces T = (1/n) Σᵢ |∂rᵢ/∂θ|² before training, those of the tangent kernel per point. Boundary
values next to second derivatives have a small T, and would otherwise be learned last (Wang, Yu & Perdikaris 2022, arXiv
2007.14527).
"""

from collections.abc import Collection, Mapping
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
from ..pde.problem import Problem, Term
from ..pde.regions import Kind, term_kind
from ..pde.sampling import drawn
from .objective import Objective, only
from .points import sample
from .residuals import residuals

#: Numbers by term, or weights that are balanced although the problem names some.
Weights = Mapping[str, ArrayLike] | Literal["balanced"]
#: How much more than the equation a condition counts (docs/pinnacle.md): with 10, the problems on which conditions are
#: learned last improve most, and others lose up to a factor of six.
FACTOR = 10.0
#: The random directions by which the traces are estimated. The relative standard deviation of a trace is about a tenth.
DIRECTIONS = 32


def balanced(objective: Objective, key: Array, named: Collection[str] = ()) -> Objective:
    """The objective with the weights max(1, FACTOR · T_equation / T_condition) of conditions.

    Equations and data keep their weights: a condition that changes more than the equation does not slow it down, and
    the weight of data is that of their noise.

    Args:
        objective: the terms with their weights; T_equation is the largest one times its weight.
        key: a JAX random key for parameters, points and directions.
        named: the conditions whose weights are kept.
    """
    kinds = {name: _kind(objective.problem, term) for name, term in objective.terms.items()}
    conditions = [name for name, kind in kinds.items() if kind == "condition" and name not in named]
    equations = [name for name, kind in kinds.items() if kind == "equation"]
    if not conditions or not equations:
        return objective
    key_params, key_traces = jax.random.split(key)
    params = init_params(objective.problem, objective.network, key_params)
    traces = tangent_traces(only(objective, *equations, *conditions), params, key_traces)
    largest = jnp.max(jnp.stack([traces[name] * objective.weights[name] for name in equations]))
    weights = dict(objective.weights)
    for name in conditions:
        trace = jnp.where(traces[name] > 0, traces[name], largest)  # 0 if it does not depend on the parameters
        weights[name] = jnp.maximum(FACTOR * largest / trace, 1.0)
    return replace(objective, weights=weights)


def _kind(problem: Problem, term: Term) -> Kind:
    """The kind of a term, whose data may be traced."""
    columns = jax.eval_shape(lambda key: term.sample(key, term.count), jax.random.key(0)).shape[1]
    if columns not in (len(problem.axes), 2 * len(problem.axes)):
        return "data"
    try:
        return term_kind(problem, drawn(term.sample, term.count))
    except jax.errors.TracerArrayConversionError:
        return "data"


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
