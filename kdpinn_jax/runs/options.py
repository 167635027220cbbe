"""``Options``: the caller's choices for a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..pde.problem import Conditions, Problem, with_conditions
from ..training.recipes import recipe


@dataclass(frozen=True)
class Options:
    """The options of a training command; None leaves the choice to the problem or the recipe."""

    seed: int = 0
    preset: str = "default"
    recipe: str = "default"
    conditions: Conditions | None = None
    layers: tuple[int, ...] | None = None
    teacher_layers: tuple[int, ...] | None = None
    activation: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    coefficients: Mapping[str, float] = field(default_factory=dict)
    time_budget: float | None = None
    progress: bool | None = None
    resume: bool = False
    checkpoint_every: float = 30.0

    def applied_to(self, problem: Problem) -> Problem:
        """The problem with these options' conditions, by default the recipe's."""
        chosen = recipe(problem, self.recipe, self.preset)
        return with_conditions(problem, self.conditions or chosen.conditions)
