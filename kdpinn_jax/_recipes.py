"""Presets: how long to train, and by what. Data, chosen by measurement (benchmarks/README.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ._names import nearest
from ._problem import Conditions, Problem
from ._sampling import Sampling
from ._stages import LBFGS, Adam, Stage

Preset = Literal["quick", "default", "best"]
RECIPES = ("default", "paper")


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


#: Steps of (Adam, L-BFGS) and seconds for the teacher and for the student. `quick` must leave half its minute to
#: starting, compiling and measuring.
_LENGTHS: dict[str, tuple[tuple[int, int], float, tuple[int, int], float]] = {
    "quick": ((300, 500), 20.0, (300, 500), 14.0),
    "default": ((1000, 6000), 150.0, (1000, 6000), 90.0),
    "best": ((3000, 60000), 1000.0, (3000, 60000), 500.0),
}


def recipe(problem: Problem, name: str = "default", preset: str = "default") -> Recipe:
    """The recipe of a problem.

    ``"default"``: hard conditions where the problem has them, and points drawn anew where the residual is large.
    ``"paper"``: the method as published, soft conditions and fixed points for L-BFGS.

    Raises:
        ValueError: an unknown recipe or preset.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown{nearest(name, RECIPES)}")
    if preset not in _LENGTHS:
        raise ValueError(f"preset {preset!r} is unknown{nearest(preset, _LENGTHS)}")
    teacher, teacher_seconds, student, student_seconds = _LENGTHS[preset]
    adaptive = name == "default"
    return Recipe(
        conditions="soft" if name == "paper" else problem.conditions,
        teacher=_stages(*teacher, adaptive),
        student=_stages(*student, adaptive),
        teacher_seconds=teacher_seconds,
        student_seconds=student_seconds,
    )


def _stages(adam: int, lbfgs: int, adaptive: bool) -> tuple[Stage, ...]:
    sampling = Sampling(every=200, adaptive=("residual",)) if adaptive else Sampling()
    return Adam(adam, 5e-3), LBFGS(lbfgs, sampling=sampling)
