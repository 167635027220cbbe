"""The method on one page: a teacher is trained on the PDE, a student on the PDE and the teacher's soft targets.

Source: Bounja, Laayouni & Sakat (2025), arXiv 2512.13336.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.typing import ArrayLike

from ..base.types import is_traced
from ..evaluation.evaluate import error_monitor
from ..models.model import Model
from ..models.report import StageReport, TrainingInterrupted
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from ..pde.sampling import Sampling
from .checkpoint import Checkpoint, identity, opened
from .fit import alone, check, fit, fresh_loss
from .host_loop import Phase, Watch, better, run_phases
from .objective import Objective, init_params, objective
from .residuals import split_over
from .soft_target import soft_target
from .stages import LevenbergMarquardt, Stage

#: Points where the residual is large, all new at first and then the oldest fifth, weighed so that the loss stays the
#: mean over the domain: what Levenberg–Marquardt wants (docs/training.md).
ADAPTIVE = Sampling(every=10, adaptive=("residual",), candidates=8, replace=0.2, warm=60, unbiased=True)
#: What ``train_teacher`` and ``distill`` do when no stages are named.
STAGES: tuple[Stage, ...] = (LevenbergMarquardt(400, sampling=ADAPTIVE),)
#: How ``distill`` imitates the teacher first.
IMITATE: tuple[Stage, ...] = (LevenbergMarquardt(60),)
#: The share of a time budget that goes to imitation.
IMITATION_SHARE = 0.2


def train_teacher(
    problem: Problem,
    key: Array,
    *,
    network: MLP | None = None,
    stages: Sequence[Stage] = STAGES,
    weights: Mapping[str, ArrayLike] | None = None,
    coefficients: Mapping[str, ArrayLike] | None = None,
    terms: Mapping[str, Term] | None = None,
    time_budget: float | None = None,
    progress: bool | None = None,
    track_error: bool = False,
    checkpoint: Checkpoint | None = None,
    devices: Sequence[Any] | None = None,
) -> Model:
    """Train a network on a PDE: L = Σ_term w_term · mean |r_term|².

    Args:
        problem: the PDE with its conditions.
        key: a JAX random key for initial parameters and points.
        network: default ``problem.teacher``.
        stages: optimisers in turn.
        weights, coefficients: those that differ from the problem's; dynamic, so that ``jax.vmap`` sweeps over them.
        terms: further terms by name (measured data, a condition), or the problem's own replaced.
        time_budget, progress, checkpoint, devices: as ``fit``.
        track_error: keep the relative L2 error on a coarse grid in the history (needs ``problem.reference``).

    Returns:
        The model; ``model.training`` says how each stage went.

    Raises:
        ValueError: unknown names, as ``objective``.
        TrainingInterrupted: Ctrl-C; ``.model`` is the model so far.
        CheckpointError, RuntimeError: as ``fit``.
    """
    plan = plan_teacher(problem, network, stages, weights, coefficients, terms)
    return _train(plan, key, time_budget, progress, track_error, checkpoint, devices)


def distill(
    teacher: Model,
    key: Array,
    *,
    network: MLP | None = None,
    imitate: Sequence[Stage] = IMITATE,
    stages: Sequence[Stage] = STAGES,
    weights: Mapping[str, ArrayLike] | None = None,
    coefficients: Mapping[str, ArrayLike] | None = None,
    terms: Mapping[str, Term] | None = None,
    time_budget: float | None = None,
    progress: bool | None = None,
    track_error: bool = False,
    checkpoint: Checkpoint | None = None,
    devices: Sequence[Any] | None = None,
) -> Model:
    """Train a student on its teacher and on the PDE.

    By default it first imitates the teacher, L = L_KD, and then learns from the PDE alone: the teacher buys time, and
    physics the digits that the teacher does not have. Where the imitation fits the values and misses the equation, its
    loss on the PDE above that of the initial parameters, physics begins from those. The loss of the paper,

        L = Σ_term w_term · mean |r_term|² + w_KD · L_KD,

    is ``imitate=(), weights={"soft_target": 1.0}``. L_KD is the term ``"soft_target"``, the Gaussian Kullback–Leibler
    divergence of ``soft_target(teacher)``; a term of that name in ``terms`` replaces it (other σ, a temperature,
    Sobolev). No gradient reaches the teacher.

    Args:
        teacher: a trained model; the student has its problem and, unless told otherwise, its coefficients.
        network: default ``problem.student``.
        imitate: stages of the fit to the teacher alone; none leaves it out.
        stages: stages on the PDE, and on the teacher where ``weights`` has a ``"soft_target"`` that is not 0.
        key, weights, coefficients, terms, time_budget, progress, track_error, checkpoint, devices: as
            ``train_teacher``. Imitation gets a fifth of the time budget.

    Returns, raises: as ``train_teacher``.
    """
    plan = plan_student(teacher, network, imitate, stages, weights, coefficients, terms)
    return _train(plan, key, time_budget, progress, track_error, checkpoint, devices)


class Part(NamedTuple):
    """Stages on one objective, and the share of the time budget that ends with them."""

    objective: Objective
    stages: tuple[Stage, ...]
    until: float


def plan_teacher(
    problem: Problem,
    network: MLP | None,
    stages: Sequence[Stage],
    weights: Mapping[str, ArrayLike] | None,
    coefficients: Mapping[str, ArrayLike] | None,
    terms: Mapping[str, Term] | None,
) -> tuple[Part, ...]:
    """What ``train_teacher`` does."""
    target = objective(problem, network or problem.teacher, terms=terms, weights=weights, coefficients=coefficients)
    return (Part(target, tuple(stages), 1.0),)


def plan_student(
    teacher: Model,
    network: MLP | None,
    imitate: Sequence[Stage],
    stages: Sequence[Stage],
    weights: Mapping[str, ArrayLike] | None,
    coefficients: Mapping[str, ArrayLike] | None,
    terms: Mapping[str, Term] | None,
) -> tuple[Part, ...]:
    """What ``distill`` does: imitation, if any, and the training proper."""
    terms, weights = dict(terms or {}), dict(weights or {})
    taught = terms.pop("soft_target", None) or soft_target(teacher)
    if is_traced(weights.get("soft_target", 0.0)) or weights.get("soft_target", 0.0) != 0.0:
        terms["soft_target"] = taught
    else:
        weights.pop("soft_target", None)
    coefficients = dict(teacher.coefficients) | dict(coefficients or {})
    parts = plan_teacher(teacher.problem, network or teacher.problem.student, stages, weights, coefficients, terms)
    if imitate:
        alone = replace(parts[-1].objective, terms={"soft_target": taught}, weights={"soft_target": 1.0})
        parts = (Part(alone, tuple(imitate), IMITATION_SHARE), *parts)
    return parts


def part_keys(plan: Sequence[Part], key: Array) -> list[Array]:
    """A key for the points of each part."""
    return [key if part is plan[-1] else jax.random.fold_in(key, len(plan[-1].stages)) for part in plan]


def _train(
    plan: Sequence[Part],
    key: Array,
    time_budget: float | None,
    progress: bool | None,
    track_error: bool,
    checkpoint: Checkpoint | None,
    devices: Sequence[Any] | None,
) -> Model:
    """Initial parameters, then the parts of the plan."""
    target = plan[-1].objective
    check(plan[-1].stages, time_budget)
    as_model: Callable[..., Model] = functools.partial(Model, target.problem, target.network)
    key_init, key_fit = jax.random.split(key)
    keys = part_keys(plan, key_fit)
    params = init_params(target.problem, target.network, key_init)
    if is_traced(plan, key):
        reports: tuple[StageReport, ...] = ()
        initial = params
        for part, its_key in zip(plan, keys, strict=True):
            if reports:
                both = (params, initial)
                params = better(*both, *(fresh_loss(part.objective, p, its_key) for p in both))
            fitted = fit(part.objective, params, its_key, part.stages)
            params, reports = fitted.params, reports + fitted.stages
        return as_model(params, target.coefficients, reports)
    budget = time_budget or math.inf
    mesh = split_over(devices)
    phases = [
        Phase(alone(replace(of, mesh=mesh)), its_stages, its_key, until * budget)
        for (of, its_stages, until), its_key in zip(plan, keys, strict=True)
    ]
    with opened(checkpoint, lambda: identity(plan, key)) as journal:
        monitor = error_monitor(target) if track_error else None
        try:
            fitted = run_phases(params, phases, Watch(journal, progress, time_budget, monitor))
        except TrainingInterrupted as interrupted:
            interrupted.model = as_model(interrupted.fit.params, target.coefficients, interrupted.fit.stages)
            raise
    return as_model(fitted.params, target.coefficients, fitted.stages)
