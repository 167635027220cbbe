"""L-BFGS (Liu & Nocedal 1989) with a zoom line search, by jaxopt. Only this module imports jaxopt."""

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
from ...models.report import Status
from ..objective import Objective
from ..resampling import Sampling
from ..residuals import loss_and_grad
from .stage import QUICK_TO_COMPILE, StageStep


class _State(NamedTuple):
    lbfgs: Any
    failures: Array  # consecutive failed line searches


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["steps", "history", "sampling"])
@dataclass(frozen=True)
class LBFGS:
    """L-BFGS iterations, on fixed points by default.

    After a failed line search the curvature pairs are discarded and the search restarts along the negative gradient; a
    second failure in a row ends the stage, which its report shows. In float32 that happens early, as soon as a step
    changes the loss by less than its rounding error.

    Attributes:
        steps: the largest number of iterations; each evaluates the loss about 1.2 times.
        history: the number of pairs of steps and gradient differences that are kept.
        sampling: default fixed points. After a redraw the curvature pairs are kept, and value and gradient are
            recomputed.

    Raises:
        ValueError: fewer than one step or pair.
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
        with warnings.catch_warnings():  # jaxopt is archived and warns when it is imported
            warnings.simplefilter("ignore", DeprecationWarning)
            import jaxopt
        unravel = ravel_pytree(params)[1]

        def value_and_grad(vector: Array, points: Points) -> tuple[tuple[Array, dict[str, Array]], Array]:
            value_and_losses, gradient = loss_and_grad(objective, unravel(vector), points)
            return value_and_losses, ravel_pytree(gradient)[0]

        return jaxopt.LBFGS(
            value_and_grad, value_and_grad=True, has_aux=True, history_size=self.history, tol=0.0, implicit_diff=False
        )

    def init(self, objective: Objective, params: Params, points: Points) -> _State:
        state = self._solver(objective, params).init_state(ravel_pytree(params)[0], points)
        return _State(state, jnp.asarray(0))

    def step(self, objective: Objective, params: Params, state: _State, points: Points) -> StageStep:
        vector, unravel = ravel_pytree(params)
        before = state.lbfgs
        new_vector, after = self._solver(objective, params).update(vector, before, points)
        # A failed search may return a point with a larger loss, which is rejected.
        worse = ~(after.value <= before.value)
        failed = after.failed_linesearch | worse | jnp.all(new_vector == vector)
        vector = jnp.where(worse, vector, new_vector)
        # Without curvature pairs (rho = 0 and gamma = 1) the next direction is that of the negative gradient.
        restarted = before._replace(
            s_history=jnp.zeros_like(before.s_history),
            y_history=jnp.zeros_like(before.y_history),
            rho_history=jnp.zeros_like(before.rho_history),
            gamma=jnp.ones_like(before.gamma),
            stepsize=jnp.ones_like(before.stepsize),
            value=jnp.where(worse, before.value, after.value),
            grad=jnp.where(worse, before.grad, after.grad),
            aux=jax.tree.map(lambda a, b: jnp.where(worse, a, b), before.aux, after.aux),
        )
        after = jax.tree.map(lambda a, b: jnp.where(failed, a, b), restarted, after)
        failures = jnp.where(failed, state.failures + 1, 0)
        status = jnp.where(failures >= 2, Status.LINE_SEARCH_FAILED, Status.RUNNING)
        return StageStep(unravel(vector), _State(after, failures), after.aux, after.value, status)

    def renew(self, objective: Objective, params: Params, state: _State, points: Points) -> _State:
        (value, term_losses), gradient = loss_and_grad(objective, params, points)
        lbfgs = state.lbfgs._replace(value=value, grad=ravel_pytree(gradient)[0], aux=term_losses)
        return _State(lbfgs, jnp.zeros_like(state.failures))
