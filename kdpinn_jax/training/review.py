"""What a training reached: its error against the reference, and each term at points that training did not see."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ..base.types import Params
from ..models.grids import UndefinedReference
from ..models.model import Model
from ..models.report import Fit, TermReport
from ..pde.jumps import Jump, coefficient_jumps
from ..pde.problem import Problem, Term
from ..pde.regions import domain_sampler, term_kind
from ..pde.sampling import drawn
from .monitor import Monitor, error_monitor
from .objective import Objective
from .phase import Phase
from .resampling import Sampling
from .residuals import mean_square_at
from .scales import constant_field_square
from .step import compiled_sample

#: A condition whose values are smaller than this fraction of the field's sets the field to zero.
ZERO = 1e-2
#: The number of points at which the range of the fields is taken.
_VALUES = 256


def final_monitor(objective: Objective) -> Monitor | None:
    """The error monitor of a training that is not monitored; None if the reference may solve another problem.

    The reference belongs to the problem's own residuals. It is unknown whether it solves the problem in which one of
    them is replaced, such as the initial value of a later time window.
    """
    problem = objective.problem
    if any(term.residual is not objective.terms.get(name, term).residual for name, term in problem.terms.items()):
        return None
    try:
        return error_monitor(objective)
    except UndefinedReference:  # training does not need it
        return None


def reviewed(phases: Sequence[Phase], fit: Fit, monitor: Monitor | None) -> Fit:
    """The fit with the terms and the error in the report of its last stage.

    Args:
        phases: the phases of the training.
        fit: its result.
        monitor: params -> relative L2 error, or None.
    """
    last = fit.stages[-1]
    error = float(monitor(fit.params)) if monitor else math.nan
    # A time budget may have ended the training in an earlier phase, which has other terms.
    phase = next((phase for phase in reversed(phases) if set(phase.objective.terms) <= set(last.history)), phases[-1])
    terms = term_reports(phase.objective, fit.params, phase.stages[-1].sampling)
    target = phase.objective
    jumps = jumps_of(Model(target.problem, target.network, fit.params, target.coefficients), target.terms)
    warnings = tuple(jump.warning() for jump in jumps if jump.highest)
    report = replace(last, terms=terms, relative_l2=error, jumps=warnings)
    return fit._replace(stages=(*fit.stages[:-1], report))


def jumps_of(model: Model, terms: Mapping[str, Term] | None = None) -> tuple[Jump, ...]:
    """The coefficients that jump in one field of a model (``coefficient_jumps``); none if it is not finite.

    Args:
        model: the model.
        terms: terms besides those of its problem.
    """
    problem = model.problem
    values = np.asarray(model(_points_inside(problem, _VALUES)))
    if not np.isfinite(values).all():
        return ()
    # The conditions that the ansatz enforces are conditions as well.
    return coefficient_jumps(problem, {**problem.terms, **(terms or {})}, model.coefficients, model.field, values)


def term_reports(objective: Objective, params: Params, sampling: Sampling) -> dict[str, TermReport]:
    """How each term of an objective ended."""
    rows = compiled_sample(objective, jax.random.key(0)).rows
    kinds = {name: term_kind(objective.problem, np.asarray(rows[name])) for name in objective.terms}
    return {
        name: TermReport(
            weight=float(jnp.asarray(objective.weights[name])),
            points=term.count,
            rms=_rms(objective, params, term, rows[name]),
            scale=_condition_scale(objective, params, term, rows[name]) if kinds[name] == "condition" else math.nan,
            measured=kinds[name] == "data",
            adaptive=name in sampling.adaptive,
        )
        for name, term in objective.terms.items()
    }


def _rms(objective: Objective, params: Params, term: Term, rows: Array) -> float:
    square = mean_square_at(objective.problem, objective.network, term, params, objective.coefficients, rows)
    return math.sqrt(square)


def _condition_scale(objective: Objective, params: Params, term: Term, rows: Array) -> float:
    """The size of what a condition prescribes.

    The residual of the zero field is the prescribed value. If that is zero, as for u = 0 on a wall, the size is that of
    the constrained quantity inside the domain, where the same residual is the quantity less the continued value.
    """
    problem = objective.problem

    def prescribed(rows: Array) -> float:
        zero = jnp.zeros(len(problem.fields), rows.dtype)
        return math.sqrt(constant_field_square(problem, term, objective.coefficients, rows, zero))

    inside = jnp.asarray(_points_inside(problem, len(rows)), rows.dtype)
    inside = jnp.concatenate([inside, rows[:, len(problem.axes) :]], axis=1)  # with the normals
    quantity = _rms(objective, params, term, inside) + prescribed(inside)
    value = prescribed(rows)
    return value if not value < ZERO * quantity else quantity


def _points_inside(problem: Problem, n: int) -> Float[np.ndarray, "n d"]:
    return drawn(domain_sampler(problem), n)
