"""``error_estimate``: a bound on a model's error, or an estimate, from its residuals alone."""

from dataclasses import replace
from typing import Literal

import numpy as np

from ..models.grids import reference_values
from ..models.model import Model
from . import correction
from .estimates import ErrorEstimate, NoBound, Norm
from .norms import at_points, field_value, make_estimate, pointwise_error, scalar_coefficients


def error_estimate(
    model: Model, *, teacher: Model | None = None, method: Literal["bound", "estimate"] = "bound"
) -> ErrorEstimate:
    """A bound on a model's error if a theorem provides one, and otherwise an estimate, or the reason why there is none.

    Args:
        model: the model; its residuals are evaluated in float64.
        teacher: a model of the same problem and coefficients, usually a more accurate one. The triangle inequality

                ‖student − u‖ ≤ ‖teacher − u‖ + ‖student − teacher‖

            then gives a second result in the same norm, from the teacher's bound and the measured distance, and the
            smaller one is returned (parts 'own', 'teacher', 'distance').
        method: ``"estimate"`` trains a correction of the model (seconds) even if there is a bound; it is the only
            method for problems without one.

    Returns:
        ``ErrorEstimate``; its kind is ``"unknown"`` if the residuals do not tell the error.
        ``true_error(model, estimate.norm)`` is the error that it refers to, if there is a reference.

    Raises:
        ValueError: an unknown method, a teacher of another problem or with other coefficients, or a model or residual
            that is not finite.
    """
    if method not in ("bound", "estimate"):
        raise ValueError(f"error_estimate: method={method!r} is unknown; use 'bound' or 'estimate'")
    if teacher is None:
        return _estimate_alone(model, method)
    _check_teacher(model, teacher)
    own, via_teacher = _estimate_alone(model, method), _estimate_alone(teacher, method)
    if via_teacher.kind == "unknown" or (own.kind == "bound" and via_teacher.kind == "estimate"):
        return own
    distance = _distance(model, teacher, via_teacher.norm)
    value = via_teacher.value + distance
    # Numbers in different norms cannot be compared; a bound is preferred to an estimate.
    smaller = own.kind != via_teacher.kind or value < own.value
    parts = {"teacher": via_teacher.value, "distance": distance}
    if own.kind == via_teacher.kind:
        parts = {"own": own.value, **parts}
    if not smaller:
        return replace(own, parts=own.parts | parts)
    assumptions = (*via_teacher.assumptions, "the distance between student and teacher is measured on dense samples")
    return make_estimate(model, via_teacher.norm, value, via_teacher.kind, assumptions, via_teacher.parts | parts)


def true_error(model: Model, norm: Norm) -> float:
    """‖û − u‖ in the norm of an ``ErrorEstimate``, from the problem's reference.

    In a norm without time, samples at which the reference is not finite are left out.

    Raises:
        ValueError: the problem has no reference, or it is not finite at a sample of a norm with time or at all samples.
    """
    z = norm.samples(model.problem)
    exact = reference_values(model.problem, scalar_coefficients(model), z.reshape(-1, z.shape[-1]))
    exact = exact.reshape(*z.shape[:2], -1)
    finite = np.isfinite(exact).all(axis=-1)
    if not finite.all():
        if len(z) > 1 or not finite.any():
            raise ValueError(
                f"true_error: the reference of {model.problem.name!r} is not finite at {np.sum(~finite)} of "
                f"{finite.size} samples of the norm; exclude them by Problem(inside=...)"
            )
        z, exact = z[finite][None], exact[finite][None]
    return norm.size(pointwise_error(model, z, exact))


def _estimate_alone(model: Model, method: Literal["bound", "estimate"]) -> ErrorEstimate:
    """The bound or estimate without a teacher."""
    problem = model.problem
    if method == "estimate":
        return correction.estimate(model, "an estimate was requested")
    if problem.bound is None:
        what = f"a family of problem {problem.name!r}" if problem.family else f"problem {problem.name!r}"
        return correction.estimate(model, f"no bound is known for {what}")
    try:
        return problem.bound(model)
    except NoBound as reason:
        return correction.estimate(model, str(reason))


def _check_teacher(model: Model, teacher: Model) -> None:
    names = ("name", "axes", "fields", "lower", "upper")
    if any(getattr(model.problem, name) != getattr(teacher.problem, name) for name in names):
        raise ValueError(
            f"error_estimate: the teacher solves {teacher.problem.name!r}, but the model solves {model.problem.name!r}"
        )
    own, other = scalar_coefficients(model), scalar_coefficients(teacher)
    if own != other:
        raise ValueError(f"error_estimate: the teacher has coefficients {other}, but the model has {own}")


def _distance(model: Model, other: Model, norm: Norm) -> float:
    z = norm.samples(model.problem)
    return norm.size(pointwise_error(model, z, at_points(other, field_value, z)))
