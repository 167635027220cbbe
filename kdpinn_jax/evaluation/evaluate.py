"""``evaluate``: errors of a model at many points of its domain and beyond it, and its residual norms."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.types import Reference
from ..models.grids import ReferencePoints, reference_points
from ..models.metrics import Errors, FamilyMember, Metrics, compute_errors, headline
from ..models.model import Model
from ..pde.problem import Problem, Term
from ..pde.reference_at import PointReference
from ..training.residuals import mean_square_at

#: How far the last space axis is extended to the right, as a fraction of its width.
EXTRAPOLATION = {"mild right": 0.1, "hard right": 0.5}


def evaluate(
    model: Model,
    *,
    predict: Callable[[ArrayLike], ArrayLike] | None = None,
    reference: Reference | None = None,
) -> Metrics:
    """Errors of a model in its domain and beyond it, and its residual norms.

    Up to three coordinates the errors are measured on a dense grid, from four on at 16384 low-discrepancy points, in
    both cases at those that belong to ``problem.inside`` and at which the reference is finite.

    Args:
        model: the model to evaluate.
        predict: a function (n, d) -> (n, m) to call instead of the model, such as its float32 predictor.
        reference: another one than that of the problem, such as ``reference_at(z, values)``, whose own points are used.

    Returns:
        ``Metrics``; without a reference its errors are empty. The errors beyond a domain that is not a box, or to which
        the reference does not extend, are left out.

    Raises:
        ValueError: the reference is finite nowhere in the domain, ``problem.inside`` holds nowhere, or the columns of
            ``reference_at`` are not those of the problem.
    """
    if reference is not None:
        model = replace(model, problem=replace(model.problem, reference=reference))
    problem, call = model.problem, predict or model
    if problem.reference is None:
        return Metrics("", {}, {}, _residual_norms(model))
    points = reference_points(problem, model.coefficients)
    u = _values(model, call, points)
    beyond: dict[str, dict[str, Errors]] = {}
    everywhere = problem.inside is None and not isinstance(problem.reference, PointReference)
    for name, fraction in EXTRAPOLATION.items() if everywhere else ():
        region = reference_points(problem, model.coefficients, _extension(problem, fraction))
        if not region.excluded:  # a reference may be NaN outside the domain
            beyond[name] = compute_errors(problem, _values(model, call, region), region.exact)
    return Metrics(
        quantity=headline(problem)[0],
        errors=compute_errors(problem, u, points.exact),
        extrapolation=beyond,
        residuals=_residual_norms(model),
        members=_family_members(problem, points, u) if problem.family else (),
        excluded=points.excluded,
    )


def _values(model: Model, call: Callable[[ArrayLike], ArrayLike], points: ReferencePoints) -> Float[np.ndarray, "n m"]:
    return np.asarray(call(points.z.astype(model.dtype)), np.float64)


def _family_members(problem: Problem, points: ReferencePoints, u: Float[np.ndarray, "n m"]) -> tuple[FamilyMember, ...]:
    """The errors of each member that has a point."""
    quantity, _ = headline(problem)
    members = []
    for i in np.unique(points.member):
        own = points.member == i
        coefficients = dict(zip(problem.family, points.z[own][0, problem.coordinates :].tolist(), strict=True))
        members.append(FamilyMember(coefficients, compute_errors(problem, u[own], points.exact[own])[quantity]))
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
