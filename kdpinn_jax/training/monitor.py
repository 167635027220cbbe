"""The error of a network during training, on a coarse grid."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..base.types import Coefficients, Params, is_traced
from ..models.grids import grid_counts, hashable, reference_on_grid
from ..models.metrics import headline
from ..models.model import network_field
from ..pde.networks import MLP
from ..pde.problem import Problem
from .objective import Objective

#: Parameters -> an error worth recording.
Monitor = Callable[[Params], Array]


def error_monitor(objective: Objective) -> Monitor | None:
    """A function of the parameters that gives the relative L2 error of the headline quantity on a coarse grid; None if
    the problem has no reference."""
    problem = objective.problem
    if problem.reference is None or is_traced(objective.coefficients):
        return None
    counts = grid_counts(problem, coarse=True)
    z, exact = reference_on_grid(problem, hashable(objective.coefficients), problem.lower, problem.upper, counts)
    columns = tuple(headline(problem)[1])
    points, exact = jnp.asarray(z), jnp.asarray(exact)
    return lambda params: _relative_l2(
        problem, objective.network, columns, params, objective.coefficients, points, exact
    )


@functools.partial(jax.jit, static_argnames=("problem", "network", "columns"))
def _relative_l2(
    problem: Problem,
    network: MLP,
    columns: tuple[int, ...],
    params: Params,
    coefficients: Coefficients,
    z: Float[Array, "n d"],
    exact: Float[Array, "n m"],
) -> Float[Array, ""]:
    u = jax.vmap(network_field(problem, network, params, coefficients))(z)
    chosen = jnp.asarray(columns)
    return jnp.linalg.norm(u[:, chosen] - exact[:, chosen]) / jnp.linalg.norm(exact[:, chosen])
