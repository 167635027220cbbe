"""One program in several processes, by JAX's own runtime: what lies on all their devices, and what they agree on.

With a single process nothing here does anything.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..base.types import is_key


def _several(mesh: Mesh | None) -> bool:
    return mesh is not None and mesh.is_multi_process


def placed(tree: Any, mesh: Mesh | None, spec: PartitionSpec) -> Any:
    """Numbers that every process has, on the devices of all of them."""
    if not _several(mesh):
        return tree
    assert mesh is not None
    sharding = NamedSharding(mesh, spec)

    def place(leaf: Any) -> Any:
        if is_key(leaf):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        whole = np.asarray(jnp.asarray(leaf))
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, tree)


def on_host(tree: Any, mesh: Mesh | None) -> Any:
    """Numbers on the devices of all processes, whole in each of them."""
    if not _several(mesh):
        return tree
    assert mesh is not None
    return jax.tree.map(_plain, _replicated(mesh)(tree))


def _plain(leaf: Any) -> Any:
    if is_key(leaf):
        return jax.random.wrap_key_data(_plain(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
    return jnp.asarray(np.asarray(leaf.addressable_data(0)))


@functools.cache
def _replicated(mesh: Mesh) -> Callable[[Any], Any]:
    return jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))


def agreed(flags: Sequence[bool], mesh: Mesh | None) -> tuple[bool, ...]:
    """What the first process says: clocks differ, and all must do the same."""
    if not _several(mesh):
        return tuple(flags)
    return tuple(map(bool, multihost_utils.broadcast_one_to_all(np.asarray(flags))))
