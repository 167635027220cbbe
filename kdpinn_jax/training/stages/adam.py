"""Adam (Kingma & Ba 2015) by optax."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from ...base.types import Params, Points
from ...pde.sampling import Sampling
from ..objective import Objective, loss_and_grad
from .stage import QUICK_TO_COMPILE, Ending, Step, check_steps


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["learning_rate"], meta_fields=["steps", "schedule", "sampling"]
)
@dataclass(frozen=True)
class Adam:
    """Adam steps on fresh points.

    Attributes:
        steps: how many.
        learning_rate: its largest value; dynamic, so that a sweep can vmap over it.
        schedule: an optax schedule, step -> factor on the learning rate; default a cosine decay to 1 % over ``steps``.
            A schedule is hashed by identity: make it once, not in a loop, or every call compiles anew.
        sampling: default new points each step.
    """

    steps: int = 2000
    learning_rate: ArrayLike = 2e-3
    schedule: optax.Schedule | None = None
    sampling: Sampling = Sampling(every=1)

    record_every: ClassVar[int] = 20
    compiler_options: ClassVar[Mapping[str, bool | int]] = QUICK_TO_COMPILE

    def __post_init__(self) -> None:
        check_steps(self)

    def init(self, objective: Objective, params: Params, points: Points) -> Any:
        return optax.scale_by_adam().init(params)

    def step(self, objective: Objective, params: Params, memory: Any, points: Points) -> Step:
        (value, parts), gradient = loss_and_grad(objective, params, points)
        factor = self.schedule or optax.cosine_decay_schedule(1.0, self.steps, alpha=0.01)
        rate = jnp.asarray(self.learning_rate) * factor(memory.count)
        direction, memory = optax.scale_by_adam().update(gradient, memory, params)
        params = jax.tree.map(lambda p, d: p - rate.astype(p.dtype) * d, params, direction)
        return Step(params, memory, parts, value, jnp.asarray(Ending.RUNNING))

    def renew(self, objective: Objective, params: Params, memory: Any, points: Points) -> Any:
        return memory
