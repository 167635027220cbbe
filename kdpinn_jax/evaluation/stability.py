"""How large an error a small residual allows: the stability constant of the equation, linearised at a model."""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from ..base.types import Coefficients, Field, Params
from ..models.grids import low_discrepancy
from ..models.model import init_params, network_field
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from ..training.blocks import map_rows_with_jacobian
from ..training.objective import Objective

#: The number of functions in which errors are sought, over all fields, and the residuals per function.
FUNCTIONS, ROWS_PER_FUNCTION = 400, 3
#: The steepest function is this many times as steep as the number of functions per axis.
STEEPEST = 2.0
#: ε relative to the largest singular value of the residuals, and the multiple of 1/ε from which on a combination of
#: functions changes no residual.
ROUNDING, NULL = 1e-12, 1e-3


class Stability(NamedTuple):
    """The largest ‖e‖/‖L e‖, with the linearised residuals L e in the norm of the loss.

    Attributes:
        constant: over all functions; infinite if one of them changes no residual.
        coarse: over half of them, at half of the points. If the equation and its conditions determine the solution,
            both numbers are nearly equal; if not, there are functions with L e = 0, which more functions approximate
            better.
    """

    constant: float
    coarse: float


def stability(objective: Objective, columns: list[int], z: Float[np.ndarray, "n d"]) -> Stability:
    """The stability constant of the residuals at a network, which the objective must correct additively.

    Errors are sought among Σ aⱼ tanh(wⱼ·(x − xⱼ)) of the network's inputs x, with points xⱼ that fill the domain and
    random directions and steepnesses. Conditions that the ansatz enforces remain satisfied, and L is computed exactly,
    by differentiating the residuals with respect to a.

    Args:
        objective: residuals of a problem whose network output is added to a model (``correction``).
        columns: the fields whose error is measured.
        z: (n, d), points of the domain, for the norm ‖e‖ = √mean|e|².

    Source: Huang, Zhu & Siew (2006) for such functions; Babuška (1971) for the constant.
    """
    outputs = objective.network.outputs
    network = MLP((max(FUNCTIONS // outputs, 8),), outputs=outputs)
    params, coefficients = _functions(objective.problem, network), objective.coefficients
    half = _columns_of_half(params)
    jacobians, coarse = [], []
    for i, (name, term) in enumerate(sorted(objective.terms.items())):
        # A term of a few points, such as an initial value, needs no more of them. Others are drawn in two halves, each
        # of which is even.
        few = term.count < 8
        keys = jax.random.split(jax.random.fold_in(jax.random.key(2), i), 1 if few else 2)
        n = term.count if few else ROWS_PER_FUNCTION * FUNCTIONS // 2
        rows = jnp.concatenate([term.sample(key, n) for key in keys])
        jacobian = np.asarray(_jacobian(objective.problem, network, term, params, coefficients, rows))
        jacobian = jacobian * math.sqrt(float(jnp.asarray(objective.weights[name])) / len(rows))
        jacobians.append(jacobian)
        # With more points per function, the same functions have a smaller constant in many dimensions.
        coarse.append(jacobian if few else math.sqrt(2) * jacobian[: len(jacobian) // 2])
    rows = jnp.asarray(z[np.random.default_rng(0).permutation(len(z))[: ROWS_PER_FUNCTION * FUNCTIONS]])
    values = np.asarray(_jacobian(objective.problem, network, _VALUE, params, coefficients, rows)) / math.sqrt(
        len(rows)
    )
    measured = values.reshape(len(rows), -1, values.shape[1])[:, columns].reshape(-1, values.shape[1])
    constant = _largest_ratio(measured, np.concatenate(jacobians))
    return Stability(constant, _largest_ratio(measured[:, half], np.concatenate(coarse)[:, half]))


def _largest_ratio(measured: Float[np.ndarray, "v p"], residuals: Float[np.ndarray, "r p"]) -> float:
    """max_a ‖measured a‖/√(‖residuals a‖² + ε²‖a‖²), where ε excludes rounding errors; infinite if it is about 1/ε."""
    _, singular, rows = np.linalg.svd(residuals, full_matrices=False)
    floor = ROUNDING * singular[0]
    ratio = float(np.linalg.norm(measured @ (rows.T / np.sqrt(singular**2 + floor**2)), 2))
    return math.inf if ratio * floor > NULL else ratio


def _functions(problem: Problem, network: MLP) -> Params:
    """Parameters of a network with one hidden layer: the functions, which are the same in every call."""
    (count,) = network.hidden
    params = jax.tree.map(jnp.zeros_like, init_params(problem, network, jax.random.key(0)))
    centres = np.asarray(jax.vmap(problem.embedding)(jnp.asarray(low_discrepancy(problem.lower, problem.upper, count))))
    random = np.random.default_rng(0)
    directions = random.normal(size=centres.shape)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    steepness = np.exp(random.uniform(0, math.log(STEEPEST * count ** (1 / len(problem.axes))), (count, 1)))
    weights = directions * steepness
    hidden = {"kernel": jnp.asarray(weights.T), "bias": jnp.asarray(-np.sum(weights * centres, axis=1))}
    return {**params, "dense_0": hidden}


def _columns_of_half(params: Params) -> np.ndarray:
    """The columns of a Jacobian that belong to the first half of the functions."""
    kernel = params["dense_1"]["kernel"]
    first = jnp.broadcast_to((jnp.arange(len(kernel)) < len(kernel) // 2)[:, None], kernel.shape)
    return np.asarray(ravel_pytree({"bias": jnp.ones(kernel.shape[1], bool), "kernel": first})[0])


@functools.partial(jax.jit, static_argnames=("problem", "network"))
def _jacobian(
    problem: Problem, network: MLP, term: Term, params: Params, coefficients: Mapping[str, Any], rows: Array
) -> Float[Array, "nk p"]:
    """The Jacobian of a term's residuals with respect to the last layer."""
    last, unravel = ravel_pytree(params["dense_1"])

    def residual(last: Array, row: Array) -> Array:
        u = network_field(problem, network, {**params, "dense_1": unravel(last)}, coefficients)
        return term.residual(u, row, coefficients)

    return map_rows_with_jacobian(residual, last, rows, jnp.ones(len(rows), rows.dtype))[1]


def _value(u: Field, z: Array, c: Coefficients) -> Array:
    return u(z)


_VALUE = Term(lambda key, n: jnp.zeros((n, 1)), _value)
