"""What a training consists of: its stages by default, and the phases of a teacher and of a student."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ..base.types import is_traced
from ..models.diagnose import took_a_step
from ..models.model import Model
from ..models.report import UNLIMITED
from ..models.windows import check_continuation
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from .balance import Weights, balanced
from .objective import objective
from .phase import Phase
from .resampling import Sampling
from .soft_target import soft_target
from .stages import LBFGS, LevenbergMarquardt, SSBroyden, Stage

#: Points that concentrate where the residual is large. At first all of them are redrawn and later the oldest fifth,
#: weighted so that the loss remains an unbiased mean over the domain (docs/training.md).
ADAPTIVE = Sampling(every=10, adaptive=("residual",), candidates=8, replace=0.2, warm=60, unbiased=True)
#: The default stages of ``train_teacher`` and ``distill``.
STAGES: tuple[Stage, ...] = (LevenbergMarquardt(400, sampling=ADAPTIVE),)
#: The default stages in which ``distill`` imitates the teacher.
IMITATE: tuple[Stage, ...] = (LevenbergMarquardt(60),)
#: The fraction of a time budget that is available to imitation.
IMITATION_SHARE = 0.2


def default_stages(time_budget: float | None) -> tuple[Stage, ...]:
    """The default stages of a training, with or without a time budget."""
    return STAGES if time_budget is None else open_ended(STAGES)


def open_ended(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages, the last one without a limit of its steps.

    Adam keeps its steps, by which its learning rate decays.
    """
    if isinstance(stages[-1], LevenbergMarquardt | LBFGS | SSBroyden):
        return (*stages[:-1], replace(stages[-1], steps=UNLIMITED))
    return tuple(stages)


def teacher_phases(
    problem: Problem,
    key: Array,
    network: MLP | None,
    stages: Sequence[Stage],
    weights: Weights | None,
    coefficients: Mapping[str, ArrayLike] | None,
    terms: Mapping[str, Term] | None,
) -> tuple[Phase, ...]:
    """The plan of ``train_teacher``."""
    check_continuation(problem, terms or {})
    if not isinstance(stages, Sequence) or not all(isinstance(stage, Stage) for stage in stages):
        raise ValueError(f"stages={stages!r} must be a tuple of stages, such as (kd.LevenbergMarquardt(100),)")
    if isinstance(weights, str) and weights != "balanced":
        raise ValueError(f"weights={weights!r} must be numbers by term, such as {{'residual': 1.0}}, or 'balanced'")
    named = {} if isinstance(weights, str) else dict(weights or {})
    target = objective(problem, network or problem.teacher, terms=terms, weights=named, coefficients=coefficients)
    if isinstance(weights, str):
        target = replace(target, weights=dict.fromkeys(target.terms, 1.0))
    else:
        named |= problem.weights
    # A key that no stage uses: they fold in their own numbers.
    target = balanced(target, jax.random.fold_in(key, len(stages) + 1), named)
    return (Phase(target, tuple(stages), key, 1.0),)


def student_phases(
    teacher: Model,
    key: Array,
    network: MLP | None,
    imitate: Sequence[Stage],
    stages: Sequence[Stage],
    weights: Weights | None,
    coefficients: Mapping[str, ArrayLike] | None,
    terms: Mapping[str, Term] | None,
) -> tuple[Phase, ...]:
    """The plan of ``distill``: imitation, if any, and training on the PDE."""
    terms, numbers = dict(terms or {}), {} if isinstance(weights, str) else dict(weights or {})
    soft = numbers.get("soft_target", 0.0)
    weighted = is_traced(soft) or soft != 0.0
    if "soft_target" not in terms and (imitate or weighted):
        _check_teacher(teacher)
    target = terms.pop("soft_target", None) or soft_target(teacher)
    if weighted:
        terms["soft_target"] = target
    else:
        numbers.pop("soft_target", None)
    coefficients = dict(teacher.coefficients) | dict(coefficients or {})
    network = network or teacher.problem.student
    chosen = weights if isinstance(weights, str) else numbers
    (physics,) = teacher_phases(teacher.problem, key, network, stages, chosen, coefficients, terms)
    if not imitate:
        return (physics,)
    imitation = replace(physics.objective, terms={"soft_target": target}, weights={"soft_target": 1.0})
    # A key that no stage on the PDE uses: they fold in their own numbers.
    imitation_key = jax.random.fold_in(key, len(physics.stages))
    return Phase(imitation, tuple(imitate), imitation_key, IMITATION_SHARE), physics


def _check_teacher(teacher: Model) -> None:
    """Raise ValueError if the teacher has nothing to teach."""
    if is_traced(teacher):
        return
    instead = "train it again, or train the student on the PDE alone (imitate=(), no weight for 'soft_target')"
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(teacher.params)):
        raise ValueError(f"distill: the teacher's parameters are not finite; {instead}")
    if teacher.training and not any(map(took_a_step, teacher.training)):
        raise ValueError(
            f"distill: the teacher is untrained ({teacher.training[-1].why()}), so its values are those of random "
            f"parameters; {instead}"
        )
