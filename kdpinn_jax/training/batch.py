"""A batch of trainings as one program: members that differ in numbers alone, shared out to all devices."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from ..base.compiler import known_options
from ..base.types import Params
from .devices import agreed, on_host, placed
from .fit import advance, begin, fresh_loss
from .host_loop import State
from .objective import Objective, init_params
from .stages import Stage

_AXIS = "members"
_EACH, _ALL = PartitionSpec(_AXIS), PartitionSpec()


class Numbers(NamedTuple):
    """What members differ in; every array has the members as its first axis."""

    weights: dict[str, Array]
    coefficients: dict[str, Array]


class Batch(NamedTuple):
    """The compiled functions of a batch (``_loop.Compiled``), its members a multiple of its devices.

    A device trains ``chunk`` of its members at a time, by ``vmap``, and one such chunk after the other, by ``lax.map``:
    that bounds its memory. A CPU core is busy with one member, whose working set fits its cache; a GPU wants many.
    """

    objective: Objective  # what all members share
    numbers: Numbers
    mesh: Mesh
    chunk: int

    def init(self, keys: Array) -> Params:
        """The members' initial parameters."""
        return _init(self.mesh, self.chunk, self.objective, (self.numbers, keys))

    def begin(self, stage: Stage, params: Params, key: Array, number: int, broken: Any) -> State:
        keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(key)
        members = (self.numbers, stage, params, keys, np.broadcast_to(broken, len(keys)))
        return _begin(self.mesh, self.chunk, self.objective, members)

    def advance(self, stage: Stage, state: State, first: int, steps: int) -> tuple[State, dict[str, Array]]:
        compiled = _compiled_advance(tuple(stage.compiler_options.items()))
        return compiled(self.mesh, self.chunk, self.objective, (self.numbers, stage, state), first, steps)

    def fresh_loss(self, params: Params, key: Array) -> Array:
        return _fresh_loss(self.mesh, self.chunk, self.objective, (self.numbers, params, key))

    def placed(self, tree: Any) -> Any:
        return placed(tree, self.mesh, _EACH)

    def on_host(self, tree: Any) -> Any:
        return on_host(tree, self.mesh)

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        return agreed(flags, self.mesh)


def over(devices: Any) -> Mesh:
    """Devices as what a batch is shared out to."""
    return Mesh(np.asarray(devices), (_AXIS,))


def _each(
    function: Callable[..., Any], mesh: Mesh, chunk: int, objective: Objective, members: Any, *common: Any
) -> Any:
    """``function(objective, member…, common…)`` of every member, the members' numbers in the objective."""

    def on_device(objective: Objective, members: Any, common: Any) -> Any:
        def one(member: Any) -> Any:
            (weights, coefficients), *rest = member
            return function(replace(objective, weights=weights, coefficients=coefficients), *rest, *common)

        return jax.lax.map(one, members, batch_size=None if chunk == 1 else chunk)

    specs = (_ALL, _EACH, _ALL)
    return jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=_EACH, check_vma=False)(
        objective, members, common
    )


def _init_params(objective: Objective, key: Array) -> Params:
    return init_params(objective.problem, objective.network, key)


_mapped = lambda function, **options: jax.jit(functools.partial(_each, function), static_argnums=(0, 1), **options)
_init, _begin, _fresh_loss = _mapped(_init_params), _mapped(begin), _mapped(fresh_loss)


@functools.cache
def _compiled_advance(options: tuple[tuple[str, bool | int], ...]) -> Callable[..., tuple[State, dict[str, Array]]]:
    return _mapped(advance, compiler_options=known_options(**dict(options)))
