"""The weighted nonlinear least-squares problem that teacher and student are trained on.

    L(θ) = Σ_term w_term · (1/n) Σᵢ |r_term(u_θ, zᵢ)|²

Residual vectors are the base: a method that wants a loss squares them, one that wants curvature takes them as they
are, with their Jacobian.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Coefficients, Field, Params, Points, is_traced
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from .residuals import compiled_once, sum_of_squares_and_grad, values, values_and_jacobian

#: What the history keeps beside the terms (``_fit``).
_RESERVED = {"loss", "step", "seconds", "relative_l2", "role", "stage"}


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["terms", "weights", "coefficients"],
    meta_fields=["problem", "network", "mesh"],
)
@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised: terms with weights, for one problem and one network. A pytree: problem and network static.

    Attributes:
        problem, network: what turns parameters into a field.
        terms: the terms in force, the problem's and others (soft targets).
        weights: one number a term, dynamic; a weight of 0 switches its term off.
        coefficients: the equation's numbers, dynamic.
        mesh: the devices that share the points, or None: static.
    """

    problem: Problem
    network: MLP
    terms: dict[str, Term]
    weights: dict[str, ArrayLike]
    coefficients: dict[str, ArrayLike]
    mesh: Mesh | None = None


def objective(
    problem: Problem,
    network: MLP | None = None,
    *,
    terms: Mapping[str, Term] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    coefficients: Mapping[str, ArrayLike] | None = None,
) -> Objective:
    """The objective of a problem, with the caller's weights, coefficients and further terms over the problem's own.

    Args:
        problem: the PDE; the terms its ansatz enforces are left out.
        network: its output width is set from the problem; default the problem's teacher network.
        terms: added to the problem's terms by name.
        weights, coefficients: only those that differ from the problem's.

    Raises:
        ValueError: a weight or coefficient nobody knows is named, a weight is negative or not finite, or a term has a
            name the history needs.
    """
    network = network or problem.teacher
    network = network.clone(outputs=problem.outputs or len(problem.fields))
    in_force = {name: term for name, term in problem.terms.items() if name not in problem.enforced}
    in_force |= dict(terms or {})
    if taken := _RESERVED & set(in_force):
        raise ValueError(f"term names {sorted(taken)} are taken by the training history; rename them")
    defaults = dict.fromkeys(in_force, 1.0) | {k: v for k, v in problem.weights.items() if k in in_force}
    for name, value in (weights or {}).items():
        if not is_traced(value) and not np.all(np.asarray(value) >= 0):
            raise ValueError(f"weight {name}={value} must not be negative or NaN")
    return Objective(
        problem,
        network,
        in_force,
        defaults | _known("weight", weights, in_force, problem),
        dict(problem.coefficients) | _known("coefficient", coefficients, problem.coefficients, problem),
    )


def _known(
    what: str, given: Mapping[str, ArrayLike] | None, known: Iterable[str], problem: Problem
) -> dict[str, ArrayLike]:
    """The given numbers, checked; scalars as Python floats, so that their type never causes another trace."""
    checked: dict[str, ArrayLike] = {}
    for name, value in (given or {}).items():
        if name not in known:
            why = " (its ansatz satisfies it identically)" if name in problem.enforced else ""
            raise ValueError(f"{what} {name!r} is unknown to problem {problem.name!r}{why}{nearest(name, known)}")
        if is_traced(value):
            checked[name] = value
            continue
        number = np.asarray(value)
        if not np.isfinite(number).all():
            raise ValueError(f"{what} {name}={value} must be finite")
        checked[name] = value if number.ndim else float(number)
    return checked


def only(objective: Objective, *names: str) -> Objective:
    """The objective with these of its terms alone, their weights unchanged."""
    return replace(
        objective,
        terms={name: objective.terms[name] for name in names},
        weights={name: objective.weights[name] for name in names},
    )


def network_field(problem: Problem, network: MLP, params: Params, coefficients: Coefficients) -> Field:
    """embed → network → ansatz, as a function of one point z (d,) -> u (m,)."""
    embed = problem.embedding

    def net(z: Float[Array, " d"]) -> Float[Array, " outputs"]:
        return jnp.asarray(network.apply({"params": params}, embed(z)))

    if problem.ansatz is None:
        return net
    ansatz = problem.ansatz
    return lambda z: ansatz(net, z, coefficients)


@functools.partial(jax.jit, static_argnames=("problem", "network"))
def init_params(problem: Problem, network: MLP, key: Array) -> Params:
    """Fresh parameters, in float64 where the caller enabled it and float32 elsewhere."""
    z = jnp.asarray(problem.lower, jnp.zeros(()).dtype)
    embed = problem.embedding
    return network.init(key, embed(z))["params"]


def residuals(objective: Objective, params: Params, points: Points) -> dict[str, Float[Array, "_n _k"]]:
    """The unweighted residual of every term at its points: ``{name: (n, k)}``."""
    return {name: term_residuals(objective, params, name, rows) for name, rows in _rows(objective, params, points)}


def term_residuals(
    objective: Objective, params: Params, name: str, rows: Float[Array, "n columns"]
) -> Float[Array, "n k"]:
    """The unweighted residual of one term at any rows, in the parameters' precision."""
    rows = rows.astype(precision(params))
    return values(Partial(functools.partial(_block_residuals, name), objective, params), rows, objective.mesh)


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
    """The unweighted mean square of every term, (1/n) Σᵢ |rᵢ|²: the parts of the loss, as the history keeps them."""
    return squared(points, residuals(objective, params, points))


def squared(points: Points, r: Mapping[str, Float[Array, "_n _k"]]) -> dict[str, Float[Array, ""]]:
    """The mean squares of residuals at these points."""
    return {
        name: jnp.mean(points.importance.get(name, 1.0) * jnp.sum(of_term**2, axis=-1)) for name, of_term in r.items()
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
    """The unweighted mean square of one term at rows drawn evenly: a program of its own, so that the end of a training
    and ``evaluate`` after it compile it once."""
    alone = Objective(problem, network, {"": term}, {"": 1.0}, dict(coefficients))
    return jnp.mean(jnp.sum(term_residuals(alone, params, "", rows) ** 2, axis=-1))


def weighted_sum(objective: Objective, parts: Mapping[str, Array]) -> Float[Array, ""]:
    """Σ_term w_term · part_term: the loss, from the mean squares."""
    total = jnp.zeros(())
    for name, part in parts.items():
        total = total + objective.weights[name] * part
    return total


def loss(objective: Objective, params: Params, points: Points) -> Float[Array, ""]:
    """The weighted sum of the mean squares; differentiable and jittable (``jax.jit(loss)``)."""
    return weighted_sum(objective, mean_squares(objective, params, points))


@compiled_once
def loss_and_grad(
    objective: Objective, params: Params, points: Points
) -> tuple[tuple[Float[Array, ""], dict[str, Float[Array, ""]]], Params]:
    """((loss, mean squares), gradient), as ``jax.value_and_grad(…, has_aux=True)`` would give, block by block."""
    parts, gradient = {}, jax.tree.map(jnp.zeros_like, params)
    for name, rows in _rows(objective, params, points):
        square, slope = sum_of_squares_and_grad(
            _row_residual(objective, name), params, rows, points.importance.get(name), objective.mesh
        )
        parts[name] = square / len(rows)
        share = objective.weights[name] / len(rows)
        gradient = jax.tree.map(lambda total, g, w=share: total + w * g, gradient, slope)
    return (weighted_sum(objective, parts), parts), gradient


def weighted(objective: Objective, points: Points, r: Mapping[str, Float[Array, "_n _k"]]) -> Float[Array, " rows"]:
    """Residuals as the vector whose squared length is the loss: √(w/n · importanceᵢ) rᵢ of every term, one after the
    other."""
    scaled = [_scale(objective, points, name)[:, None].astype(r[name].dtype) * r[name] for name in sorted(r)]
    return jnp.concatenate([of_term.ravel() for of_term in scaled])


@compiled_once
def residuals_and_weighted_jacobian(
    objective: Objective, params: Params, points: Points
) -> tuple[dict[str, Float[Array, "_n _k"]], Float[Array, "rows p"]]:
    """``residuals``, and the Jacobian of ``weighted`` ones, a column a parameter in the order of ``ravel_pytree``."""
    vector, unravel = ravel_pytree(params)
    r, jacobians = {}, []
    for name, rows in _rows(objective, params, points):
        scale = _scale(objective, points, name).astype(rows.dtype)
        of_vector = Partial(lambda of, v, row, name=name: _residual_at(name, of, unravel(v), row), objective)
        r[name], jacobian = values_and_jacobian(of_vector, vector, rows, scale, objective.mesh)
        jacobians.append(jacobian)
    return r, jnp.concatenate(jacobians)


def precision(params: Params) -> jnp.dtype:
    """The parameters' floating-point type."""
    return jax.tree.leaves(params)[0].dtype


def _rows(objective: Objective, params: Params, points: Points) -> list[tuple[str, Array]]:
    """The rows of every term by name, in the parameters' precision: measured data may come in another one."""
    return [(name, points.rows[name].astype(precision(params))) for name in sorted(objective.terms)]


def _scale(objective: Objective, points: Points, name: str) -> Float[Array, " _n"]:
    """The square root of each row's weight in the loss."""
    n = len(points.rows[name])
    importance = points.importance.get(name, jnp.ones(n))
    return jnp.sqrt(objective.weights[name] / n * importance)
