"""Recipes: conditions, stages and time budgets for each preset, chosen by measurement (benchmarks/README.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
from jax import Array

from ..base.names import nearest
from ..models.model import init_params
from ..pde.networks import MLP, count_parameters
from ..pde.problem import Conditions, Problem
from .objective import objective
from .plan import ADAPTIVE, IMITATE
from .resampling import Sampling
from .stages import LBFGS, Adam, LevenbergMarquardt, Stage


@dataclass(frozen=True)
class Recipe:
    """How a run trains its teacher and its student.

    The time budgets are wall-clock seconds, including compiling. The step counts are chosen so that training ends
    before its budget on two cores; on a slower machine the budget ends it.

    Attributes:
        conditions: ``"soft"`` or ``"hard"``.
        teacher: the stages of the teacher.
        imitate: the stages in which the student imitates the teacher.
        student: the stages of the student after that.
        teacher_seconds: the time budget of the teacher.
        student_seconds: the time budget of the student.
        weights: the student's weights that differ from the problem's.
    """

    conditions: Conditions
    teacher: tuple[Stage, ...]
    imitate: tuple[Stage, ...]
    student: tuple[Stage, ...]
    teacher_seconds: float
    student_seconds: float
    weights: Mapping[str, float] = field(default_factory=dict)


#: Time budgets in seconds, of the teacher and of the student.
_SECONDS: dict[str, dict[str, tuple[float, float]]] = {
    "default": {"quick": (7.0, 26.0), "default": (40.0, 125.0), "best": (150.0, 600.0)},
    "paper": {"quick": (14.0, 15.0), "default": (120.0, 70.0), "best": (400.0, 200.0)},
}
#: Levenberg–Marquardt steps of the teacher and of the student, more than fit into the time budget.
_STEPS = {"quick": (200, 800), "default": (400, 2500), "best": (2500, 15000)}
#: Steps of the paper's recipe, (Adam, L-BFGS) of the teacher and of the student.
_PAPER_STEPS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "quick": ((100, 500), (100, 500)),
    "default": ((500, 6000), (1000, 6000)),
    "best": ((2000, 60000), (3000, 60000)),
}
#: Residuals of the equation in Levenberg–Marquardt. The teacher gets few enough that the kernel form of its larger
#: network takes a fraction of a second per step.
_TEACHER_ROWS = 1200
#: The student gets as many as its time budget permits: (the minimum, the number per parameter). With far fewer
#: residuals than parameters it fits its points and not the solution between them (lid_driven_cavity).
_STUDENT_ROWS = {"quick": (1200, 0.5), "default": (1600, 1.3), "best": (2048, 1.8)}
PRESETS = tuple(_STEPS)
RECIPES = tuple(_SECONDS)


def recipe(problem: Problem, name: str = "default", preset: str = "default", *, network: MLP | None = None) -> Recipe:
    """The recipe of a problem.

    Args:
        problem: any problem; the default recipe expects its equation under the name ``"residual"``.
        name: ``"default"`` or ``"paper"``. The default recipe uses hard conditions if the problem has them, and
            Levenberg–Marquardt on points that concentrate where the residual is large; the student first imitates its
            teacher and then learns from the PDE alone. The paper's recipe is the published method: soft conditions,
            Adam and then L-BFGS on the PDE and the soft targets together, and evenly drawn points.
        preset: ``"quick"``, ``"default"`` or ``"best"``, by increasing training time.
        network: the student's network, default ``problem.student``; a larger one gets more points.

    Raises:
        ValueError: the recipe or the preset is unknown, or the default recipe finds no term ``"residual"``.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown{nearest(name, RECIPES)}")
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is unknown{nearest(preset, PRESETS)}")
    seconds = _SECONDS[name][preset]
    if name == "paper":
        teacher, student = (_published(*steps) for steps in _PAPER_STEPS[preset])
        return Recipe("soft", teacher, (), student, *seconds, weights={"soft_target": 1.0})
    least, per_parameter = _STUDENT_ROWS[preset]
    student_rows = max(least, round(per_parameter * _count_parameters(problem, network or problem.student)))
    teacher_steps, student_steps = _STEPS[preset]
    teacher = _second_order(problem, teacher_steps, _TEACHER_ROWS)
    student = _second_order(problem, student_steps, student_rows)
    return Recipe(problem.conditions, teacher, IMITATE, student, *seconds)


def _second_order(problem: Problem, steps: int, rows: int) -> tuple[Stage, ...]:
    return (LevenbergMarquardt(steps, sampling=_adaptive(problem, rows)),)


def _count_parameters(problem: Problem, network: MLP) -> int:
    network = objective(problem, network).network
    return count_parameters(jax.eval_shape(lambda key: init_params(problem, network, key), jax.random.key(0)))


def _published(adam: int, lbfgs: int) -> tuple[Stage, ...]:
    # On fixed points L-BFGS puts Burgers' shock in the wrong place for two of three seeds, with a small loss.
    return Adam(adam, 5e-3), LBFGS(lbfgs, sampling=Sampling(every=500))


def _adaptive(problem: Problem, rows: int) -> Sampling:
    """Adaptive sampling with about ``rows`` residuals of the equation."""
    if "residual" not in problem.terms:
        raise ValueError(
            f"recipe: problem {problem.name!r} has no term 'residual', which the default recipe requires; give the "
            "equation's term that name, or use the recipe 'paper'"
        )
    term = problem.terms["residual"]
    zero = lambda z: jnp.zeros(len(problem.fields), z.dtype) + 0 * jnp.sum(z)

    def first_residual(key: Array) -> Array:
        return term.residual(zero, term.sample(key, term.count)[0], dict(problem.coefficients))

    equations = jax.eval_shape(first_residual, jax.random.key(0)).shape[0]
    return replace(ADAPTIVE, share=min(1.0, rows / (term.count * equations)))
