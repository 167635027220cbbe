"""The method: a teacher is trained on the PDE, and a student on the teacher's soft targets and the PDE.

Source: Bounja, Laayouni & Sakat (2025), arXiv 2512.13336.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
from jax import Array
from jax.typing import ArrayLike

from ..base.types import Device, is_traced
from ..models.model import Model, init_params
from ..models.report import TrainingInterrupted
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from .checkpoint import Checkpoint, identity
from .fit import optimise
from .host_loop import HostOptions
from .monitor import error_monitor
from .objective import objective
from .phase import Phase
from .resampling import Sampling
from .soft_target import soft_target
from .stages import LevenbergMarquardt, Stage

#: Points that concentrate where the residual is large. At first all of them are redrawn and later the oldest fifth,
#: weighted so that the loss remains an unbiased mean over the domain (docs/training.md).
ADAPTIVE = Sampling(every=10, adaptive=("residual",), candidates=8, replace=0.2, warm=60, unbiased=True)
#: The default stages of ``train_teacher`` and ``distill``.
STAGES: tuple[Stage, ...] = (LevenbergMarquardt(400, sampling=ADAPTIVE),)
#: The default stages in which ``distill`` imitates the teacher.
IMITATE: tuple[Stage, ...] = (LevenbergMarquardt(60),)
#: The fraction of a time budget that is available to imitation.
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
    devices: Sequence[Device] | None = None,
) -> Model:
    """Train a network on a PDE: L = Σ_term w_term · mean |r_term|².

    Args:
        problem: the PDE with its conditions.
        key: a JAX random key for initial parameters and points.
        network: default ``problem.teacher``.
        stages: optimiser stages, in order.
        weights: those that differ from the problem's; dynamic, so that ``jax.vmap`` sweeps over them.
        coefficients: those that differ from the problem's; dynamic.
        terms: additional terms by name (measured data, a condition), or replacements of the problem's own.
        time_budget: as in ``fit``.
        progress: as in ``fit``.
        track_error: whether the history records the relative L2 error at 1024 points; requires ``problem.reference``.
        checkpoint: as in ``fit``.
        devices: as in ``fit``.

    Returns:
        The model; ``model.training`` reports how each stage ended.

    Raises:
        ValueError: unknown names, as in ``objective``.
        TrainingInterrupted: Ctrl-C; ``.model`` is the model so far.
        CheckpointError: as in ``fit``.
        RuntimeError: as in ``fit``.
    """
    key_init, key_fit = jax.random.split(key)
    phases = teacher_phases(problem, key_fit, network, stages, weights, coefficients, terms)
    options = HostOptions(time_budget, progress, checkpoint=checkpoint, devices=devices)
    return _train(phases, key_init, key, options, track_error)


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
    devices: Sequence[Device] | None = None,
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
        stages: stages on the PDE, and on the soft targets if ``weights`` has a nonzero ``"soft_target"``.
        weights: as in ``train_teacher``.
        coefficients: as in ``train_teacher``.
        terms: as in ``train_teacher``.
        time_budget: as in ``fit``; imitation gets a fifth of it.
        progress: as in ``fit``.
        track_error: as in ``train_teacher``.
        checkpoint: as in ``fit``.
        devices: as in ``fit``.

    Returns:
        The student, as ``train_teacher`` returns a teacher.

    Raises:
        ValueError: as in ``train_teacher``.
        TrainingInterrupted: as in ``train_teacher``.
        CheckpointError: as in ``fit``.
        RuntimeError: as in ``fit``.
    """
    key_init, key_fit = jax.random.split(key)
    phases = student_phases(teacher, key_fit, network, imitate, stages, weights, coefficients, terms)
    options = HostOptions(time_budget, progress, checkpoint=checkpoint, devices=devices)
    return _train(phases, key_init, key, options, track_error)


def teacher_phases(
    problem: Problem,
    key: Array,
    network: MLP | None,
    stages: Sequence[Stage],
    weights: Mapping[str, ArrayLike] | None,
    coefficients: Mapping[str, ArrayLike] | None,
    terms: Mapping[str, Term] | None,
) -> tuple[Phase, ...]:
    """The plan of ``train_teacher``."""
    target = objective(problem, network or problem.teacher, terms=terms, weights=weights, coefficients=coefficients)
    return (Phase(target, tuple(stages), key, 1.0),)


def student_phases(
    teacher: Model,
    key: Array,
    network: MLP | None,
    imitate: Sequence[Stage],
    stages: Sequence[Stage],
    weights: Mapping[str, ArrayLike] | None,
    coefficients: Mapping[str, ArrayLike] | None,
    terms: Mapping[str, Term] | None,
) -> tuple[Phase, ...]:
    """The plan of ``distill``: imitation, if any, and training on the PDE."""
    terms, weights = dict(terms or {}), dict(weights or {})
    target = terms.pop("soft_target", None) or soft_target(teacher)
    if is_traced(weights.get("soft_target", 0.0)) or weights.get("soft_target", 0.0) != 0.0:
        terms["soft_target"] = target
    else:
        weights.pop("soft_target", None)
    coefficients = dict(teacher.coefficients) | dict(coefficients or {})
    network = network or teacher.problem.student
    (physics,) = teacher_phases(teacher.problem, key, network, stages, weights, coefficients, terms)
    if not imitate:
        return (physics,)
    imitation = replace(physics.objective, terms={"soft_target": target}, weights={"soft_target": 1.0})
    # A key that no stage on the PDE uses: they fold in their own numbers.
    imitation_key = jax.random.fold_in(key, len(physics.stages))
    return Phase(imitation, tuple(imitate), imitation_key, IMITATION_SHARE), physics


def _train(phases: Sequence[Phase], key_init: Array, key: Array, options: HostOptions, track_error: bool) -> Model:
    """Train fresh parameters by all phases. ``key`` identifies the training for its checkpoint."""
    target = phases[-1].objective
    params = init_params(target.problem, target.network, key_init)
    if track_error:
        options = options._replace(monitor=error_monitor(target))
    try:
        fitted = optimise(phases, params, options, lambda: identity(phases, key))
    except TrainingInterrupted as interrupted:
        fitted = interrupted.fit
        interrupted.model = Model(target.problem, target.network, fitted.params, target.coefficients, fitted.stages)
        raise
    return Model(target.problem, target.network, fitted.params, target.coefficients, fitted.stages)
