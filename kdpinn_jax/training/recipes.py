"""Presets: how long to train, and by what. Data, chosen by measurement (benchmarks/README.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp

from ..base.names import nearest
from ..models.model import init_params
from ..pde.networks import MLP, count_parameters
from ..pde.problem import Conditions, Problem
from .distill import ADAPTIVE, IMITATE
from .objective import objective
from .resampling import Sampling
from .stages import LBFGS, Adam, LevenbergMarquardt, Stage


@dataclass(frozen=True)
class Recipe:
    """What a run does.

    Attributes:
        conditions: ``"soft"`` or ``"hard"``.
        teacher, student: the stages of each; imitate: the student's fit to the teacher before them.
        teacher_seconds, student_seconds: wall-clock budgets, compiling included: step counts are chosen to end before
            them on two cores, and a slower machine stops there.
        weights: of the student's further terms.
    """

    conditions: Conditions
    teacher: tuple[Stage, ...]
    imitate: tuple[Stage, ...]
    student: tuple[Stage, ...]
    teacher_seconds: float
    student_seconds: float
    weights: Mapping[str, float] = field(default_factory=dict)


#: Seconds for the teacher and for the student.
_SECONDS: dict[str, dict[str, tuple[float, float]]] = {
    "default": {"quick": (7.0, 26.0), "default": (40.0, 125.0), "best": (150.0, 600.0)},
    "paper": {"quick": (14.0, 15.0), "default": (120.0, 70.0), "best": (400.0, 200.0)},
}
#: Levenberg–Marquardt steps, of the teacher and of the student: more than fit into the seconds.
_STEPS = {"quick": (200, 800), "default": (400, 2500), "best": (2500, 15000)}
#: (Adam, L-BFGS) steps of the paper's recipe, of the teacher and of the student.
_PAPER_STEPS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "quick": ((100, 500), (100, 500)),
    "default": ((500, 6000), (1000, 6000)),
    "best": ((2000, 60000), (3000, 60000)),
}
#: Residuals Levenberg–Marquardt sees: a teacher's, few enough that the kernel form of its larger network takes a
#: fraction of a second; a student's, as many as there is time for: (at least, for each parameter). With far fewer
#: residuals than parameters it fits its points and not what is between them (lid_driven_cavity).
_TEACHER_ROWS = 1200
_STUDENT_ROWS = {"quick": (1200, 0.5), "default": (1600, 1.3), "best": (2048, 1.8)}
PRESETS = tuple(_STEPS)
RECIPES = tuple(_SECONDS)


def recipe(problem: Problem, name: str = "default", preset: str = "default", *, network: MLP | None = None) -> Recipe:
    """The recipe of a problem for a student ``network``, default ``problem.student``.

    ``"default"``: hard conditions where the problem has them, Levenberg–Marquardt on points drawn where the residual
    is large; the student imitates its teacher first and then learns from the PDE alone.
    ``"paper"``: the method as published, soft conditions, Adam then L-BFGS on PDE and soft targets together; the points
    are drawn anew, uniformly.

    Raises:
        ValueError: an unknown recipe or preset.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown{nearest(name, RECIPES)}")
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is unknown{nearest(preset, PRESETS)}")
    seconds = _SECONDS[name][preset]
    if name == "paper":
        teacher, student = (_published(*steps) for steps in _PAPER_STEPS[preset])
        return Recipe("soft", teacher, (), student, *seconds, weights={"soft_target": 1.0})
    least, a_parameter = _STUDENT_ROWS[preset]
    rows = (_TEACHER_ROWS, max(least, round(a_parameter * _parameters(problem, network or problem.student))))
    teacher, student = (_second_order(problem, *each) for each in zip(_STEPS[preset], rows, strict=True))
    return Recipe(problem.conditions, teacher, IMITATE, student, *seconds)


def _second_order(problem: Problem, steps: int, rows: int) -> tuple[Stage, ...]:
    return (LevenbergMarquardt(steps, sampling=_adaptive(problem, rows)),)


def _parameters(problem: Problem, network: MLP) -> int:
    network = objective(problem, network).network
    return count_parameters(jax.eval_shape(lambda key: init_params(problem, network, key), jax.random.key(0)))


def _published(adam: int, lbfgs: int) -> tuple[Stage, ...]:
    # On fixed points L-BFGS puts Burgers' shock in the wrong place for two seeds of three, at a small loss.
    return Adam(adam, 5e-3), LBFGS(lbfgs, sampling=Sampling(every=500))


def _adaptive(problem: Problem, rows: int) -> Sampling:
    """Adaptive points, as many as give about so many residuals of the equation."""
    if "residual" not in problem.terms:
        raise ValueError(f"recipe: problem {problem.name!r} has no term 'residual'; give the equation's term that name")
    term = problem.terms["residual"]
    z = jnp.asarray(problem.lower, jnp.zeros(()).dtype)
    field = lambda z: jnp.zeros(len(problem.fields), z.dtype) + 0 * jnp.sum(z)
    equations = jax.eval_shape(lambda z: term.residual(field, z, dict(problem.coefficients)), z).shape[0]
    return replace(ADAPTIVE, share=min(1.0, rows / (term.count * equations)))
