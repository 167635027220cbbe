"""L-BFGS (Liu & Nocedal 1989) with a zoom line search, by jaxopt. The one file that imports jaxopt."""

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from ...base.types import Params, Points
from ...pde.sampling import Sampling
from ..objective import Objective, loss_and_grad
from .stage import QUICK_TO_COMPILE, Ending, Step

with warnings.catch_warnings():  # jaxopt is archived and says so at import; its L-BFGS works under jit, vmap and scan
    warnings.simplefilter("ignore", DeprecationWarning)
    import jaxopt


class _Memory(NamedTuple):
    lbfgs: Any
    failures: Array  # line searches that failed in a row


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["steps", "history", "sampling"])
@dataclass(frozen=True)
class LBFGS:
    """L-BFGS iterations, on fixed points unless ``sampling`` says otherwise.

    A line search that fails empties the memory and starts again along the gradient; a second failure in a row ends
    the stage, and its report says so. In float32 that happens early: the loss is then at the resolution of its sum.

    Attributes:
        steps: the most iterations; each evaluates the loss about 1.2 times.
        history: pairs of steps and gradient differences kept.
        sampling: default fixed points. After a new draw the curvature pairs are kept, value and gradient renewed.
    """

    steps: int = 2000
    history: int = 50
    sampling: Sampling = Sampling()

    record_every: ClassVar[int] = 20
    compiler_options: ClassVar[Mapping[str, bool | int]] = QUICK_TO_COMPILE

    def __post_init__(self) -> None:
        if self.steps < 1 or self.history < 1:
            raise ValueError(f"LBFGS: steps={self.steps} and history={self.history} must be at least 1")

    def _solver(self, objective: Objective, params: Params) -> Any:
        unravel = ravel_pytree(params)[1]

        def value_and_grad(vector: Array, points: Points) -> tuple[tuple[Array, dict[str, Array]], Array]:
            value_and_parts, gradient = loss_and_grad(objective, unravel(vector), points)
            return value_and_parts, ravel_pytree(gradient)[0]

        return jaxopt.LBFGS(
            value_and_grad, value_and_grad=True, has_aux=True, history_size=self.history, tol=0.0, implicit_diff=False
        )

    def init(self, objective: Objective, params: Params, points: Points) -> _Memory:
        state = self._solver(objective, params).init_state(ravel_pytree(params)[0], points)
        return _Memory(state, jnp.asarray(0))

    def step(self, objective: Objective, params: Params, memory: _Memory, points: Points) -> Step:
        vector, unravel = ravel_pytree(params)
        before = memory.lbfgs
        new_vector, after = self._solver(objective, params).update(vector, before, points)
        # A failed search may still hand back a point that is higher: the stage never climbs.
        worse = ~(after.value <= before.value)
        failed = after.failed_linesearch | worse | jnp.all(new_vector == vector)
        vector = jnp.where(worse, vector, new_vector)
        # Forgetting the pairs (rho = 0 makes them inert, gamma = 1) turns the next direction into the gradient's.
        fresh = before._replace(
            s_history=jnp.zeros_like(before.s_history),
            y_history=jnp.zeros_like(before.y_history),
            rho_history=jnp.zeros_like(before.rho_history),
            gamma=jnp.ones_like(before.gamma),
            stepsize=jnp.ones_like(before.stepsize),
            value=jnp.where(worse, before.value, after.value),
            grad=jnp.where(worse, before.grad, after.grad),
            aux=jax.tree.map(lambda a, b: jnp.where(worse, a, b), before.aux, after.aux),
        )
        after = jax.tree.map(lambda a, b: jnp.where(failed, a, b), fresh, after)
        failures = jnp.where(failed, memory.failures + 1, 0)
        ending = jnp.where(failures >= 2, Ending.LINE_SEARCH_FAILED, Ending.RUNNING)
        return Step(unravel(vector), _Memory(after, failures), after.aux, after.value, ending)

    def renew(self, objective: Objective, params: Params, memory: _Memory, points: Points) -> _Memory:
        (value, parts), gradient = loss_and_grad(objective, params, points)
        lbfgs = memory.lbfgs._replace(value=value, grad=ravel_pytree(gradient)[0], aux=parts)
        return _Memory(lbfgs, jnp.zeros_like(memory.failures))
