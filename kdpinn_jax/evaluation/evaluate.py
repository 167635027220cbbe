"""``evaluate``: errors of a model on a dense grid and beyond its domain, and its residual norms."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ..models.grids import grid_counts, hashable, reference_on_grid
from ..models.metrics import Errors, FamilyMember, Metrics, compute_errors, headline
from ..models.model import Model
from ..pde.problem import Problem, Term
from ..training.residuals import mean_square_at

#: How far the last space axis is extended to the right, as a fraction of its width.
EXTRAPOLATION = {"mild right": 0.1, "hard right": 0.5}


def evaluate(model: Model, *, predict: Callable[[ArrayLike], ArrayLike] | None = None) -> Metrics:
    """Errors of a model on the dense grid and beyond the domain, and its residual norms.

    Args:
        model: the model to evaluate.
        predict: a function (n, d) -> (n, m) to call instead of the model, such as its float32 predictor.

    Returns:
        ``Metrics``; without a reference its errors are empty.
    """
    problem, call = model.problem, predict or model
    errors: dict[str, dict[str, Errors]] = {}
    members: tuple[FamilyMember, ...] = ()
    if problem.reference is not None:
        coefficients = hashable(model.coefficients)
        regions = {"domain": (problem.lower, problem.upper)} | {
            name: _extension(problem, fraction) for name, fraction in EXTRAPOLATION.items()
        }
        for region, (lower, upper) in regions.items():
            z, exact = reference_on_grid(problem, coefficients, lower, upper, grid_counts(problem))
            if np.isfinite(exact).all():  # a reference may be NaN outside the domain
                u = np.asarray(call(z.astype(model.dtype)), np.float64)
                errors[region] = compute_errors(problem, u, exact)
                if region == "domain" and problem.family:
                    members = _family_members(problem, z, u, exact)
    return Metrics(
        quantity=headline(problem)[0] if errors else "",
        errors=errors.pop("domain", {}),
        extrapolation=errors,
        residuals=_residual_norms(model),
        members=members,
    )


def _family_members(
    problem: Problem, z: Float[np.ndarray, "n d"], u: Float[np.ndarray, "n m"], exact: Float[np.ndarray, "n m"]
) -> tuple[FamilyMember, ...]:
    """The errors of each member on a grid whose last axes, the fastest ones, are the coefficients."""
    count = math.prod(grid_counts(problem)[problem.coordinates :])
    quantity, _ = headline(problem)
    members = []
    for i in range(count):
        coefficients = dict(zip(problem.family, z[i, problem.coordinates :].tolist(), strict=True))
        members.append(FamilyMember(coefficients, compute_errors(problem, u[i::count], exact[i::count])[quantity]))
    return tuple(sorted(members, key=lambda member: -member.errors.relative_l2))


def _extension(problem: Problem, fraction: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The lower and upper corner of the region to the right of the domain."""
    lower, upper, last = list(problem.lower), list(problem.upper), problem.coordinates - 1
    lower[last], upper[last] = upper[last], upper[last] + fraction * (upper[last] - lower[last])
    return tuple(lower), tuple(upper)


def _residual_norms(model: Model) -> dict[str, float]:
    norms = {}
    for i, (name, term) in enumerate(model.problem.terms.items()):
        # A fixed key gives the same model the same number every time. Training splits its keys and never uses this one.
        rows = _sample(term, jax.random.fold_in(jax.random.key(0), i))
        square = mean_square_at(model.problem, model.network, term, model.params, model.coefficients, rows)
        norms[name] = float(jnp.sqrt(square))
    return norms


@jax.jit
def _sample(term: Term, key: Array) -> Float[Array, "n columns"]:
    return term.sample(key, term.count)
