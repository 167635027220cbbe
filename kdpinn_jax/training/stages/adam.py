"""Adam (Kingma & Ba 2015), by optax."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ...base.types import Params, Points
from ...models.report import Status
from ..objective import Objective
from ..resampling import Sampling
from ..residuals import loss_and_grad
from .stage import QUICK_TO_COMPILE, StageStep, check_steps

#: step -> factor on the learning rate, as in optax.
Schedule = Callable[[ArrayLike], ArrayLike]


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["learning_rate"], meta_fields=["steps", "schedule", "sampling"]
)
@dataclass(frozen=True)
class Adam:
    """Adam steps on fresh points.

    Attributes:
        steps: the number of steps.
        learning_rate: the largest learning rate; dynamic, so that a sweep can vmap over it.
        schedule: an optax schedule, step -> factor on the learning rate; default a cosine decay to 1 % over ``steps``.
            A schedule is hashed by identity: create it once and outside loops, or every call compiles again.
        sampling: default new points at every step.

    Raises:
        ValueError: fewer than one step.
    """

    steps: int = 2000
    learning_rate: ArrayLike = 2e-3
    schedule: Schedule | None = None
    sampling: Sampling = Sampling(every=1)

    record_every: ClassVar[int] = 20
    compiler_options: ClassVar[Mapping[str, bool | int]] = QUICK_TO_COMPILE

    def __post_init__(self) -> None:
        check_steps(self)

    def init(self, objective: Objective, params: Params, points: Points) -> Any:
        import optax  # imported late, because most trainings do not need it

        return optax.scale_by_adam().init(params)

    def step(self, objective: Objective, params: Params, state: Any, points: Points) -> StageStep:
        import optax

        (value, term_losses), gradient = loss_and_grad(objective, params, points)
        factor = self.schedule or optax.cosine_decay_schedule(1.0, self.steps, alpha=0.01)
        rate = jnp.asarray(self.learning_rate) * factor(state.count)
        direction, state = optax.scale_by_adam().update(gradient, state, params)
        params = jax.tree.map(lambda p, d: p - rate.astype(p.dtype) * d, params, direction)
        return StageStep(params, state, term_losses, value, jnp.asarray(Status.RUNNING))

    def renew(self, objective: Objective, params: Params, state: Any, points: Points) -> Any:
        return state
