"""Presets: how long to train, and by what. Data, chosen by measurement (benchmarks/README.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._names import nearest
from ._problem import Conditions, Problem
from ._sampling import Sampling
from ._stages import LBFGS, Adam, Stage


@dataclass(frozen=True)
class Recipe:
    """What a run does.

    Attributes:
        conditions: ``"soft"`` or ``"hard"``.
        teacher, student: the stages of each.
        teacher_seconds, student_seconds: wall-clock budgets, compiling included: step counts are chosen to end before
            them on two cores, and a slower machine stops there.
        weights: of the student's further terms.
    """

    conditions: Conditions
    teacher: tuple[Stage, ...]
    student: tuple[Stage, ...]
    teacher_seconds: float
    student_seconds: float
    weights: Mapping[str, float] = field(default_factory=dict)


#: Steps of (Adam, L-BFGS) and seconds, for the teacher and for the student. `quick` must leave half its minute to
#: starting, compiling and measuring.
_LENGTHS: dict[str, tuple[tuple[int, int], float, tuple[int, int], float]] = {
    "quick": ((100, 500), 14.0, (100, 500), 15.0),
    "default": ((500, 6000), 120.0, (1000, 6000), 70.0),
    "best": ((2000, 60000), 400.0, (3000, 60000), 200.0),
}
PRESETS = tuple(_LENGTHS)
RECIPES = ("default", "paper")


def recipe(problem: Problem, name: str = "default", preset: str = "default") -> Recipe:
    """The recipe of a problem.

    ``"default"``: hard conditions where the problem has them, and points drawn anew where the residual is large (not
    in ``quick``, which is L-BFGS alone).
    ``"paper"``: the method as published, soft conditions, Adam then L-BFGS; the points are drawn anew, uniformly.

    Raises:
        ValueError: an unknown recipe or preset.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown{nearest(name, RECIPES)}")
    if preset not in _LENGTHS:
        raise ValueError(f"preset {preset!r} is unknown{nearest(preset, _LENGTHS)}")
    teacher, teacher_seconds, student, student_seconds = _LENGTHS[preset]
    return Recipe(
        conditions="soft" if name == "paper" else problem.conditions,
        teacher=_stages(name, preset, *teacher),
        student=_stages(name, preset, *student),
        teacher_seconds=teacher_seconds,
        student_seconds=student_seconds,
    )


def _stages(name: str, preset: str, adam: int, lbfgs: int) -> tuple[Stage, ...]:
    if name == "paper":
        # On fixed points L-BFGS puts Burgers' shock in the wrong place for two seeds of three, at a small loss.
        return Adam(adam, 5e-3), LBFGS(lbfgs, sampling=Sampling(every=500))
    if preset == "quick":  # every stage is compiled first, and so short a time is better spent on one
        return (LBFGS(adam + lbfgs),)
    return Adam(adam, 5e-3), LBFGS(lbfgs, sampling=Sampling(every=200, adaptive=("residual",)))
