"""Several processes as one program, with JAX's runtime: moving arrays between hosts and devices, and shared decisions.

All functions are no-ops in a single process.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..base.types import is_key

_Tree = TypeVar("_Tree")


def to_devices(tree: _Tree, mesh: Mesh | None, spec: PartitionSpec) -> _Tree:
    """Place numbers that every process has on the devices of all processes."""
    if mesh is None or not mesh.is_multi_process:
        return tree
    sharding = NamedSharding(mesh, spec)

    def place(leaf: Any) -> Array:
        if is_key(leaf):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        whole = np.asarray(jnp.asarray(leaf))
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, tree)


def to_host(tree: _Tree, mesh: Mesh | None) -> _Tree:
    """Collect numbers from the devices of all processes, so that each process has all of them."""
    if mesh is None or not mesh.is_multi_process:
        return tree
    return jax.tree.map(_local, _replicated(mesh)(tree))


def _local(leaf: Array) -> Array:
    if is_key(leaf):
        return jax.random.wrap_key_data(_local(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
    return jnp.asarray(np.asarray(leaf.addressable_data(0)))


@functools.cache
def _replicated(mesh: Mesh) -> Callable[[_Tree], _Tree]:
    return jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))


def broadcast_flags(flags: Sequence[bool], mesh: Mesh | None) -> tuple[bool, ...]:
    """The flags of the first process: clocks differ, and all processes must do the same."""
    if mesh is None or not mesh.is_multi_process:
        return tuple(flags)
    return tuple(map(bool, multihost_utils.broadcast_one_to_all(np.asarray(flags))))
