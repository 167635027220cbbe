"""Runners: the compiled functions that the host loop calls, for one training or for a batch of them (``batch``)."""

import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from ..base.compiler import known_options
from ..base.types import Params
from .devices import broadcast_flags, to_devices, to_host
from .objective import Objective
from .stages import Stage
from .step import Record, TrainState, advance, compiled_start, fresh_loss

_Tree = TypeVar("_Tree")


@runtime_checkable  # the tests check argument types at run time
class Runner(Protocol):
    """The compiled functions of a training. The numbers of a batch have the members as their first axis."""

    def start(
        self, objective: Objective, stage: Stage, params: Params, key: Array, number: int, diverged: ArrayLike
    ) -> TrainState:
        """The state before the first step of stage ``number``."""
        ...

    def advance(
        self, objective: Objective, stage: Stage, state: TrainState, first: int, steps: int
    ) -> tuple[TrainState, Record]:
        """At most ``steps`` steps, starting with number ``first``, and a record of the last one."""
        ...

    def fresh_loss(self, objective: Objective, params: Params, key: Array) -> Array:
        """The loss at evenly drawn points that training did not see."""
        ...

    def to_devices(self, tree: _Tree) -> _Tree:
        """Place numbers of the host on the devices of all processes."""
        ...

    def to_host(self, tree: _Tree) -> _Tree:
        """Collect numbers from the devices of all processes, so that this process can read them."""
        ...

    def broadcast_flags(self, *flags: bool) -> tuple[bool, ...]:
        """The flags of the first process: clocks differ, and all processes must do the same."""
        ...


class SingleRunner(NamedTuple):
    """One training. The same compiled functions serve every objective of the same structure.

    Attributes:
        mesh: the devices that share the points, or None.
    """

    mesh: Mesh | None

    def start(
        self, objective: Objective, stage: Stage, params: Params, key: Array, number: int, diverged: ArrayLike
    ) -> TrainState:
        key = jax.random.fold_in(key, number)
        return compiled_start(objective, stage, self.to_devices(params), self.to_devices(key), diverged)

    def advance(
        self, objective: Objective, stage: Stage, state: TrainState, first: int, steps: int
    ) -> tuple[TrainState, Record]:
        return _compiled_advance(tuple(stage.compiler_options.items()))(objective, stage, state, first, steps)

    def fresh_loss(self, objective: Objective, params: Params, key: Array) -> Array:
        return fresh_loss(objective, self.to_devices(params), self.to_devices(key))

    def to_devices(self, tree: _Tree) -> _Tree:
        return to_devices(tree, self.mesh, PartitionSpec())

    def to_host(self, tree: _Tree) -> _Tree:
        return to_host(tree, self.mesh)

    def broadcast_flags(self, *flags: bool) -> tuple[bool, ...]:
        return broadcast_flags(flags, self.mesh)


@functools.cache
def _compiled_advance(options: tuple[tuple[str, bool | int], ...]) -> Callable[..., tuple[TrainState, Record]]:
    # JAX does not accept compiler options in a call that is itself traced; ``fit`` calls ``advance`` there.
    return jax.jit(advance, compiler_options=known_options(**dict(options)))
