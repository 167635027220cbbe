"""The method on one page: a teacher is trained on the PDE, a student on the PDE and the teacher's soft targets.

Source: Bounja, Laayouni & Sakat (2025), arXiv 2512.13336.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
from jax import Array
from jax.typing import ArrayLike

from ._fit import fit
from ._metrics import error_monitor
from ._model import Model
from ._network import MLP
from ._objective import Objective, init_params, objective
from ._problem import Problem, Term
from ._report import TrainingInterrupted
from ._soft_target import soft_target
from ._stages import LBFGS, Adam, Stage

#: What ``train_teacher`` and ``distill`` do when no stages are named: the paper's two, at the length of a few minutes.
STAGES: tuple[Stage, ...] = (Adam(2000), LBFGS(2000))


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
) -> Model:
    """Train a network on a PDE: L = Σ_term w_term · mean |r_term|².

    Args:
        problem: the PDE with its conditions.
        key: a JAX random key for initial parameters and points.
        network: default ``problem.teacher``.
        stages: optimisers in turn.
        weights, coefficients: those that differ from the problem's; dynamic, so that ``jax.vmap`` sweeps over them.
        terms: further terms by name (measured data, a condition), or the problem's own replaced.
        time_budget, progress: as ``fit``.
        track_error: keep the relative L2 error on a coarse grid in the history (needs ``problem.reference``).

    Returns:
        The model; ``model.training`` says how each stage went.

    Raises:
        ValueError: unknown names, as ``objective``.
        TrainingInterrupted: Ctrl-C; ``.model`` is the model so far.
    """
    target = objective(problem, network or problem.teacher, terms=terms, weights=weights, coefficients=coefficients)
    return _train(target, key, stages, time_budget, progress, track_error)


def distill(
    teacher: Model,
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
) -> Model:
    """Train a student on the PDE and on its teacher: L = Σ_term w_term · mean |r_term|² + w_KD · L_KD.

    The term ``"soft_target"`` is L_KD, the Gaussian Kullback–Leibler divergence of ``soft_target(teacher)``; its weight
    is ``weights={"soft_target": …}``, 1 by default and 0 to train without the teacher. A term of that name in ``terms``
    replaces it (other σ, a temperature, Sobolev). No gradient reaches the teacher.

    Args:
        teacher: a trained model; the student has its problem and, unless told otherwise, its coefficients.
        network: default ``problem.student``.
        key, stages, weights, coefficients, terms, time_budget, progress, track_error: as ``train_teacher``.

    Returns, raises: as ``train_teacher``.
    """
    terms = {"soft_target": soft_target(teacher)} | dict(terms or {})
    target = objective(
        teacher.problem,
        network or teacher.problem.student,
        terms=terms,
        weights=weights,
        coefficients=dict(teacher.coefficients) | dict(coefficients or {}),
    )
    return _train(target, key, stages, time_budget, progress, track_error)


def _train(
    target: Objective,
    key: Array,
    stages: Sequence[Stage],
    time_budget: float | None,
    progress: bool | None,
    track_error: bool,
) -> Model:
    as_model: Callable[..., Model] = functools.partial(Model, target.problem, target.network)
    key_init, key_fit = jax.random.split(key)
    params = init_params(target.problem, target.network, key_init)
    monitor = error_monitor(target) if track_error else None
    try:
        params, reports = fit(
            target, params, key_fit, stages, time_budget=time_budget, progress=progress, monitor=monitor
        )
    except TrainingInterrupted as interrupted:
        interrupted.model = as_model(interrupted.fit.params, target.coefficients, interrupted.fit.stages)
        raise
    return as_model(params, target.coefficients, reports)
