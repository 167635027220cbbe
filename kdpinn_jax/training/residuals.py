"""Residuals of an objective's terms, their mean squares, the loss, and derivatives with respect to the parameters.

Residual vectors come first: a stage that needs a loss squares them, and a stage that needs curvature uses them
directly, together with their Jacobian.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Float

from ..base.types import Coefficients, Params, Points
from ..models.model import network_field, precision
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from .blocks import compiled_once, map_rows, map_rows_with_jacobian, sum_of_squares_and_grad
from .objective import Objective


def residuals(objective: Objective, params: Params, points: Points) -> dict[str, Float[Array, "_n _k"]]:
    """The unweighted residual of every term at its points: ``{name: (n, k)}``."""
    return {name: term_residuals(objective, params, name, rows) for name, rows in _rows(objective, params, points)}


def term_residuals(
    objective: Objective, params: Params, name: str, rows: Float[Array, "n columns"]
) -> Float[Array, "n k"]:
    """The unweighted residual of one term at any rows, in the parameters' precision."""
    rows = rows.astype(precision(params))
    return map_rows(Partial(functools.partial(_block_residuals, name), objective, params), rows, objective.mesh)


@functools.partial(compiled_once, static_argnames=("name",))
def _block_residuals(name: str, objective: Objective, params: Params, block: Array) -> Array:
    return jax.vmap(functools.partial(_residual_at, name, objective, params))(block)


def _residual_at(name: str, objective: Objective, params: Params, row: Array) -> Array:
    u = network_field(objective.problem, objective.network, params, objective.coefficients)
    return objective.terms[name].residual(u, row, objective.coefficients)


def _row_residual(objective: Objective, name: str) -> Callable[[Params, Array], Array]:
    """The residual of a term at one row, as a pytree of the numbers in it."""
    return Partial(functools.partial(_residual_at, name), objective)


@jax.jit
def mean_squares(objective: Objective, params: Params, points: Points) -> dict[str, Float[Array, ""]]:
    """The unweighted mean square of every term, (1/n) Σᵢ |rᵢ|²: the term losses that the history records."""
    return squared(points, residuals(objective, params, points))


def squared(points: Points, r: Mapping[str, Float[Array, "_n _k"]]) -> dict[str, Float[Array, ""]]:
    """The mean squares of residuals at these points."""
    return {
        name: jnp.mean(points.importance.get(name, 1.0) * jnp.sum(r_term**2, axis=-1)) for name, r_term in r.items()
    }


@functools.partial(jax.jit, static_argnames=("problem", "network"))
def mean_square_at(
    problem: Problem,
    network: MLP,
    term: Term,
    params: Params,
    coefficients: Coefficients,
    rows: Float[Array, "n columns"],
) -> Float[Array, ""]:
    """The unweighted mean square of one term at evenly drawn rows.

    It is jitted separately, so that the end of a training and a later ``evaluate`` share the compiled program.
    """
    term_alone = Objective(problem, network, {"": term}, {"": 1.0}, dict(coefficients))
    return jnp.mean(jnp.sum(term_residuals(term_alone, params, "", rows) ** 2, axis=-1))


def weighted_sum(objective: Objective, term_losses: Mapping[str, Array]) -> Float[Array, ""]:
    """Σ_term w_term · term_loss: the loss, from the mean squares."""
    total = jnp.zeros(())
    for name, term_loss in term_losses.items():
        total = total + objective.weights[name] * term_loss
    return total


def loss(objective: Objective, params: Params, points: Points) -> Float[Array, ""]:
    """The weighted sum of the mean squares; differentiable and jittable (``jax.jit(loss)``)."""
    return weighted_sum(objective, mean_squares(objective, params, points))


@compiled_once
def loss_and_grad(
    objective: Objective, params: Params, points: Points
) -> tuple[tuple[Float[Array, ""], dict[str, Float[Array, ""]]], Params]:
    """((loss, term losses), gradient), as from ``jax.value_and_grad(…, has_aux=True)``, but computed in blocks."""
    term_losses, gradient = {}, jax.tree.map(jnp.zeros_like, params)
    for name, rows in _rows(objective, params, points):
        squares, squares_gradient = sum_of_squares_and_grad(
            _row_residual(objective, name), params, rows, points.importance.get(name), objective.mesh
        )
        term_losses[name] = squares / len(rows)
        factor = objective.weights[name] / len(rows)
        gradient = jax.tree.map(lambda total, g, w=factor: total + w * g, gradient, squares_gradient)
    return (weighted_sum(objective, term_losses), term_losses), gradient


def weighted_vector(
    objective: Objective, points: Points, r: Mapping[str, Float[Array, "_n _k"]]
) -> Float[Array, " rows"]:
    """The residuals of all terms as one vector whose squared length is the loss: √(w/n · importanceᵢ) rᵢ."""
    scaled = [_scale(objective, points, name)[:, None].astype(r[name].dtype) * r[name] for name in sorted(r)]
    return jnp.concatenate([r_term.ravel() for r_term in scaled])


@compiled_once
def residuals_and_weighted_jacobian(
    objective: Objective, params: Params, points: Points
) -> tuple[dict[str, Float[Array, "_n _k"]], Float[Array, "rows p"]]:
    """``residuals``, and the Jacobian of ``weighted_vector`` with one column per parameter, in the order of
    ``ravel_pytree``."""
    vector, unravel = ravel_pytree(params)
    r, jacobians = {}, []
    for name, rows in _rows(objective, params, points):
        scale = _scale(objective, points, name).astype(rows.dtype)
        residual = Partial(lambda target, v, row, name=name: _residual_at(name, target, unravel(v), row), objective)
        r[name], jacobian = map_rows_with_jacobian(residual, vector, rows, scale, objective.mesh)
        jacobians.append(jacobian)
    return r, jnp.concatenate(jacobians)


def _rows(objective: Objective, params: Params, points: Points) -> list[tuple[str, Array]]:
    """The rows of every term by name, in the parameters' precision, which may differ from that of measured data."""
    return [(name, points.rows[name].astype(precision(params))) for name in sorted(objective.terms)]


def _scale(objective: Objective, points: Points, name: str) -> Float[Array, " _n"]:
    """The square root of the factor with which each row enters the loss."""
    n = len(points.rows[name])
    importance = points.importance.get(name, jnp.ones(n))
    return jnp.sqrt(objective.weights[name] / n * importance)
