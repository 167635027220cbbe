"""The method: a teacher is trained on the PDE, and a student on the teacher's soft targets and the PDE.

Source: Bounja, Laayouni & Sakat (2025), arXiv 2512.13336.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ..base.types import Device, is_traced
from ..models.model import Model, init_params
from ..models.report import UNLIMITED, TrainingInterrupted
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from .balance import Weights
from .checkpoint import Checkpoint, identity
from .fit import optimise
from .host_loop import HostOptions
from .monitor import error_monitor
from .outside import warn_of_points_outside
from .phase import Phase
from .plan import IMITATE, STAGES, default_stages, student_phases, teacher_phases
from .precision import check_precision
from .recompilation import count_problem
from .review import final_monitor, reviewed
from .scales import warn_of_units
from .stages import Stage


def train_teacher(
    problem: Problem,
    key: Array,
    *,
    network: MLP | None = None,
    stages: Sequence[Stage] | None = None,
    weights: Weights | None = None,
    coefficients: Mapping[str, ArrayLike] | None = None,
    terms: Mapping[str, Term] | None = None,
    time_budget: float | None = None,
    progress: bool | None = None,
    track_error: bool = False,
    checkpoint: Checkpoint | None = None,
    devices: Sequence[Device] | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """Train a network on a PDE: L = Σ_term w_term · mean |r_term|².

    Args:
        problem: the PDE with its conditions.
        key: a JAX random key for initial parameters and points.
        network: default ``problem.teacher``.
        stages: optimiser stages, in order, each with its number of steps; None for 400 steps of Levenberg–Marquardt on
            points where the residual is large, or with a time budget, for as many as it has time for.
        weights: numbers by term that differ from the problem's; dynamic, so that ``jax.vmap`` sweeps over them.
            A condition that neither names gets one before training by which it counts more than the equation, at least
            1 (``"balanced"``: every condition). The report of a stage has the weights.
        coefficients: those that differ from the problem's; dynamic.
        terms: additional terms by name (measured data, a condition), or replacements of the problem's own.
        time_budget: as in ``fit``. The default stages then end when it is spent, or earlier if no step lowers the loss;
            the last report says which.
        progress: as in ``fit``.
        track_error: whether the history records the relative L2 error at 1024 points; requires ``problem.reference``.
        checkpoint: as in ``fit``.
        devices: as in ``fit``.
        dtype: the precision that is intended, ``"float64"`` or ``"float32"``. JAX trains in float64 if it is enabled
            and in float32 otherwise, which causes a warning unless it is intended.

    Returns:
        The model; ``model.training`` reports how each stage ended.

    Raises:
        ValueError: unknown names, as in ``objective``, or only some of the initial conditions continue from a
            previous window, or JAX computes in another precision.
        TrainingInterrupted: Ctrl-C; ``.model`` is the model so far.
        CheckpointError: as in ``fit``.
        RuntimeError: as in ``fit``.
    """
    start = time.monotonic()
    key_init, key_fit = _split("train_teacher", key)
    chosen = default_stages(time_budget) if stages is None else stages
    phases = teacher_phases(problem, key_fit, network, chosen, weights, coefficients, terms)
    options = HostOptions(_left(time_budget, start), progress, checkpoint=checkpoint, devices=devices)
    return _train("train_teacher", phases, key_init, key, options, track_error, dtype)


def distill(
    teacher: Model,
    key: Array,
    *,
    network: MLP | None = None,
    imitate: Sequence[Stage] = IMITATE,
    stages: Sequence[Stage] | None = None,
    weights: Weights | None = None,
    coefficients: Mapping[str, ArrayLike] | None = None,
    terms: Mapping[str, Term] | None = None,
    time_budget: float | None = None,
    progress: bool | None = None,
    track_error: bool = False,
    checkpoint: Checkpoint | None = None,
    devices: Sequence[Device] | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """Train a student on its teacher and on the PDE.

    By default the student first imitates the teacher, L = L_KD, and then learns from the PDE alone: imitation saves
    time, and the PDE adds the accuracy that the teacher lacks. If imitation matches the values but not the equation, so
    that the loss on the PDE is larger than that of the initial parameters, training on the PDE starts from those. The
    loss of the paper,

        L = Σ_term w_term · mean |r_term|² + w_KD · L_KD,

    is obtained by ``imitate=(), weights={"soft_target": 1.0}``. L_KD is the term ``"soft_target"``, the Gaussian
    Kullback–Leibler divergence of ``soft_target(teacher)``. A term of that name in ``terms`` replaces it (another σ, a
    temperature, Sobolev training). No gradient reaches the teacher.

    Args:
        teacher: a trained model; the student solves the same problem, by default at the same coefficients.
        key: as in ``train_teacher``.
        network: default ``problem.student``.
        imitate: stages on the soft targets alone; empty for none.
        stages: stages on the PDE, and on the soft targets if ``weights`` has a nonzero ``"soft_target"``; default as in
            ``train_teacher``.
        weights: as in ``train_teacher``.
        coefficients: as in ``train_teacher``.
        terms: as in ``train_teacher``.
        time_budget: as in ``fit``; imitation gets a fifth of it.
        progress: as in ``fit``.
        track_error: as in ``train_teacher``.
        checkpoint: as in ``fit``.
        devices: as in ``fit``.
        dtype: as in ``train_teacher``.

    Returns:
        The student, as ``train_teacher`` returns a teacher.

    Raises:
        ValueError: as in ``train_teacher``, or the student would imitate a teacher that is untrained or not finite.
        TrainingInterrupted: as in ``train_teacher``.
        CheckpointError: as in ``fit``.
        RuntimeError: as in ``fit``.
    """
    start = time.monotonic()
    key_init, key_fit = _split("distill", key)
    chosen = default_stages(time_budget) if stages is None else stages
    phases = student_phases(teacher, key_fit, network, imitate, chosen, weights, coefficients, terms)
    options = HostOptions(_left(time_budget, start), progress, checkpoint=checkpoint, devices=devices)
    return _train("distill", phases, key_init, key, options, track_error, dtype)


def _left(time_budget: float | None, start: float) -> float | None:
    """What is left of a time budget; a budget that is not positive is refused later."""
    if time_budget is None or not time_budget > 0:
        return time_budget
    return max(time_budget - (time.monotonic() - start), 1e-3)


def _split(caller: str, key: Array) -> Array:
    """Two keys from one."""
    try:
        return jax.random.split(key)
    except (TypeError, ValueError):
        raise ValueError(f"{caller}: key={key!r} must be a random key, such as jax.random.key(0)") from None


def _limited(phase: Phase) -> Phase:
    """The phase with the steps of the default stages in place of unlimited ones."""
    stages = [replace(s, steps=STAGES[-1].steps) if s.steps == UNLIMITED else s for s in phase.stages]  # pyright: ignore
    return phase._replace(stages=tuple(stages))


def _train(
    caller: str,
    phases: Sequence[Phase],
    key_init: Array,
    key: Array,
    options: HostOptions,
    track_error: bool,
    dtype: DTypeLike | None,
) -> Model:
    """Train fresh parameters by all phases. ``key`` identifies the training for its checkpoint."""
    target = phases[-1].objective
    params = init_params(target.problem, target.network, key_init)
    check_precision(params, dtype, caller)
    traced = is_traced(phases, params)
    if not traced:
        warn_of_units(target, caller)
        warn_of_points_outside(target, caller)
    if traced:  # there is no clock
        phases = [_limited(phase) for phase in phases]
    if track_error:
        options = options._replace(monitor=error_monitor(target))
    # Before the training, so that a reference that fails does not cost its result.
    monitor = None if traced else options.monitor or final_monitor(target)
    try:
        fitted = optimise(phases, params, options, lambda: identity(phases, key))
    except TrainingInterrupted as interrupted:
        fitted = interrupted.fit
        interrupted.model = Model(target.problem, target.network, fitted.params, target.coefficients, fitted.stages)
        raise
    if not traced:
        count_problem(target.problem)
        fitted = reviewed(phases, fitted, monitor)
    return Model(target.problem, target.network, fitted.params, target.coefficients, fitted.stages)
