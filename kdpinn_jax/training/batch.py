"""``BatchRunner``: trainings that differ only in numbers, compiled as one program and divided among devices."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from ..base.compiler import known_options
from ..base.types import Device, Params
from ..models.model import init_params
from .devices import broadcast_flags, to_devices, to_host
from .objective import Objective
from .stages import Stage
from .step import Record, TrainState, advance, fresh_loss, start

_MEMBERS = "members"
_SHARDED, _REPLICATED = PartitionSpec(_MEMBERS), PartitionSpec()
_Tree = TypeVar("_Tree")


class BatchRunner(NamedTuple):
    """The compiled functions of a batch (``runner.Runner``).

    The weights and coefficients of an objective, the keys, the parameters and the numbers of a stage have the members
    as their first axis. Each device trains ``chunk`` of its members at a time, by ``vmap``, and one chunk after the
    other, by ``lax.map``, which bounds the memory. On a CPU core one member, whose working set fits the cache, is
    fastest; a GPU needs many.

    Attributes:
        mesh: the devices that share the members.
        chunk: the number of members that a device holds in working memory.
    """

    mesh: Mesh
    chunk: int

    def init(self, objective: Objective, keys: Array) -> Params:
        """The members' initial parameters."""
        return self._map(_init, objective, (keys,))

    def start(
        self, objective: Objective, stage: Stage, params: Params, key: Array, number: int, diverged: ArrayLike
    ) -> TrainState:
        keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(key)
        return self._map(_start, objective, (stage, params, keys, np.broadcast_to(diverged, len(keys))))

    def advance(
        self, objective: Objective, stage: Stage, state: TrainState, first: int, steps: int
    ) -> tuple[TrainState, Record]:
        compiled = _compiled_advance(tuple(stage.compiler_options.items()))
        return self._map(compiled, objective, (stage, state), first, steps)

    def fresh_loss(self, objective: Objective, params: Params, key: Array) -> Array:
        return self._map(_fresh_loss, objective, (params, key))

    def to_devices(self, tree: _Tree) -> _Tree:
        return to_devices(tree, self.mesh, _SHARDED)

    def to_host(self, tree: _Tree) -> _Tree:
        return to_host(tree, self.mesh)

    def broadcast_flags(self, *flags: bool) -> tuple[bool, ...]:
        return broadcast_flags(flags, self.mesh)

    def _map(
        self, compiled: Callable[..., Any], objective: Objective, per_member: tuple[Any, ...], *common: Any
    ) -> Any:
        members = (objective.weights, objective.coefficients, *per_member)
        return compiled(self.mesh, self.chunk, replace(objective, weights={}, coefficients={}), members, *common)


def member_mesh(devices: Sequence[Device]) -> Mesh:
    """The mesh of the devices that share the members of a batch."""
    return Mesh(np.asarray(devices), (_MEMBERS,))


def _map_members(
    function: Callable[..., Any], mesh: Mesh, chunk: int, objective: Objective, members: tuple[Any, ...], *common: Any
) -> Any:
    """``function(objective, *per_member, *common)`` for every member, with the member's numbers in the objective."""

    def on_device(objective: Objective, members: tuple[Any, ...], common: tuple[Any, ...]) -> Any:
        def for_member(member: tuple[Any, ...]) -> Any:
            weights, coefficients, *per_member = member
            return function(replace(objective, weights=weights, coefficients=coefficients), *per_member, *common)

        return jax.lax.map(for_member, members, batch_size=None if chunk == 1 else chunk)

    specs = (_REPLICATED, _SHARDED, _REPLICATED)
    return jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=_SHARDED, check_vma=False)(
        objective, members, common
    )


def _init_params(objective: Objective, key: Array) -> Params:
    return init_params(objective.problem, objective.network, key)


def _compiled(function: Callable[..., Any], options: dict[str, bool | int | str] | None = None) -> Callable[..., Any]:
    return jax.jit(functools.partial(_map_members, function), static_argnums=(0, 1), compiler_options=options)


_init, _start, _fresh_loss = map(_compiled, (_init_params, start, fresh_loss))


@functools.cache
def _compiled_advance(options: tuple[tuple[str, bool | int], ...]) -> Callable[..., Any]:
    return _compiled(advance, known_options(**dict(options)))
