"""The error of a network during training, at a few points."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..base.types import Coefficients, Params, is_traced
from ..models.grids import reference_points
from ..models.metrics import headline
from ..models.model import network_field
from ..pde.networks import MLP
from ..pde.problem import Problem
from .objective import Objective

#: Parameters -> the error that the history records.
Monitor = Callable[[Params], Array]


def error_monitor(objective: Objective) -> Monitor | None:
    """The relative L2 error of the headline quantity at a few points of the domain, as a function of the parameters.

    Args:
        objective: the objective that is trained.

    Returns:
        params -> error, or None if the problem has no reference, it is nowhere defined, or the coefficients are traced.
    """
    problem = objective.problem
    if problem.reference is None or is_traced(objective.coefficients):
        return None
    points = reference_points(problem, objective.coefficients, coarse=True)
    columns = tuple(headline(problem)[1])
    z, exact = jnp.asarray(points.z), jnp.asarray(points.exact)

    def monitor(params: Params) -> Array:
        return _relative_l2(problem, objective.network, columns, params, objective.coefficients, z, exact)

    return monitor


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
    selected = jnp.asarray(columns)
    return jnp.linalg.norm(u[:, selected] - exact[:, selected]) / jnp.linalg.norm(exact[:, selected])
