"""How wrong a model is at most, or about, from its residuals alone: no reference solution is asked."""

from dataclasses import replace
from typing import Literal

import numpy as np

from ..models.grids import reference_values
from ..models.model import Model
from . import correction as _correction
from .estimates import ErrorEstimate, NoBound, Norm
from .norms import as_estimate, at_points, field_value, pointwise_error, scalar_coefficients


def error_estimate(
    model: Model, *, teacher: Model | None = None, method: Literal["bound", "estimate"] = "bound"
) -> ErrorEstimate:
    """A bound on a model's error where a theorem gives one, and an estimate elsewhere.

    Args:
        model: what to judge; its residuals are evaluated in float64.
        teacher: a model of the same problem and coefficients, better as a rule. Then also, in the same norm,

                ‖student − u‖ ≤ ‖teacher − u‖ + ‖student − teacher‖,

            the teacher's bound and the measured distance, and the smaller of the two counts (parts 'own', 'teacher',
            'distance').
        method: ``"estimate"`` trains a correction on top of the model (seconds) also where there is a bound; other
            problems have that alone.

    Returns:
        ``ErrorEstimate``; ``true_error(model, estimate.norm)`` is what it bounds, where a reference is known.

    Raises:
        ValueError: an unknown method, a teacher of another problem or other coefficients, a model that is not finite.
    """
    if method not in ("bound", "estimate"):
        raise ValueError(f"error_estimate: method={method!r} is unknown; use 'bound' or 'estimate'")
    if teacher is None:
        return _alone(model, method)
    _check_teacher(model, teacher)
    own, taught = _alone(model, method), _alone(teacher, method)
    if own.kind == "bound" and taught.kind == "estimate":
        return own
    distance = _distance(model, teacher, taught.norm)
    through = taught.value + distance
    # Numbers of different norms are not compared: the bound goes before the estimate.
    better = own.kind != taught.kind or through < own.value
    parts = {"teacher": taught.value, "distance": distance}
    if own.kind == taught.kind:
        parts = {"own": own.value, **parts}
    if not better:
        return replace(own, parts=own.parts | parts)
    said = (*taught.assumptions, "the distance from student to teacher is measured on dense samples")
    return as_estimate(model, taught.norm, through, taught.kind, said, taught.parts | parts)


def true_error(model: Model, norm: Norm) -> float:
    """‖û − u‖ in the norm of an ``ErrorEstimate``, by the problem's reference.

    Raises:
        ValueError: the problem has none.
    """
    z = norm.samples(model.problem)
    coefficients = scalar_coefficients(model)
    exact = reference_values(model.problem, coefficients, z.reshape(-1, z.shape[-1]))
    return norm.size(pointwise_error(model, z, exact.reshape(*z.shape[:2], -1)))


def _alone(model: Model, method: str) -> ErrorEstimate:
    problem = model.problem
    if method == "estimate":
        return _correction.estimate(model, "asked for")
    if problem.bound is None:
        of = f"a family of problem {problem.name!r}" if problem.family else f"problem {problem.name!r}"
        return _correction.estimate(model, f"no bound is known for {of}")
    try:
        return problem.bound(model)
    except NoBound as why:
        return _correction.estimate(model, str(why))


def _check_teacher(model: Model, teacher: Model) -> None:
    ours, its = model.problem, teacher.problem
    if (ours.name, ours.axes, ours.fields, ours.lower, ours.upper) != (
        its.name,
        its.axes,
        its.fields,
        its.lower,
        its.upper,
    ):
        raise ValueError(f"error_estimate: the teacher solves {its.name!r}; the model solves {ours.name!r}")
    if scalar_coefficients(model) != scalar_coefficients(teacher):
        raise ValueError(
            f"error_estimate: the teacher has coefficients {scalar_coefficients(teacher)}; the model has {scalar_coefficients(model)}"
        )


def _distance(model: Model, other: Model, norm: Norm) -> float:
    z = norm.samples(model.problem)
    return norm.size(pointwise_error(model, z, np.asarray(at_points(other, field_value, z))))
