"""A function of one row mapped over many rows in blocks, with derivatives with respect to the parameters.

Rows are processed in blocks that fit the cache: memory use stays constant, and the intermediate values of a block are
still in cache when the reverse pass needs them. With several devices, each processes a share of the rows.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.xla_metadata import set_xla_metadata
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float

from ..base.types import Device

#: Points per block: the activations and tangents of 512 rows fit a core's L2 cache. benchmarks/derivatives.py measures
#: other sizes.
BLOCK = 512
#: Points per block in programs that evaluate the residuals at several sets of points: all their blocks have this size
#: and are traced once. Larger blocks do not speed up a Jacobian either, whose rows are as long as the parameter vector.
SHARED_BLOCK = 256

#: The axis of a mesh of devices that share the rows.
_POINTS = "points"
_SHARDED, _REPLICATED = PartitionSpec(_POINTS), PartitionSpec()

_T = TypeVar("_T")
_P = ParamSpec("_P")

#: (parameters, row) -> (k,): the residual of a term at one row. The parameters may have any form. The function must be
#: a pytree if there is a mesh.
RowResidual = Callable[[Any, Array], Array]


def compiled_once(function: Callable[_P, _T], static_argnames: tuple[str, ...] = ()) -> Callable[_P, _T]:
    """``jax.jit``, but XLA does not inline the function at every call site.

    A line search evaluates the loss in seven places, and with inlining it took nearly twice as long to compile (16 s
    against 9 s for L-BFGS on black_scholes).
    """
    jitted = jax.jit(function, static_argnames=static_argnames)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with set_xla_metadata(inlineable="false"):
            return jitted(*args, **kwargs)

    return call


def in_blocks(rows: Float[Array, "n columns"], size: int) -> tuple[Float[Array, "b s columns"], Float[Array, "b s"]]:
    """Rows in equal blocks of at most ``size`` rows. The last block is padded with repeated rows, which have mask 0.

    Args:
        rows: (n, columns).
        size: the largest number of rows per block.

    Returns:
        The blocks (b, s, columns) and the mask (b, s), 1 for rows and 0 for padding.
    """
    n = len(rows)
    count = -(-n // size)
    return _padded(rows, count, -(-n // count))


def _repeat_last(rows: Array, count: int) -> Array:
    """Rows followed by ``count`` copies of the last one."""
    return jnp.concatenate([rows, jnp.repeat(rows[-1:], count, axis=0)])


def _padded(rows: Float[Array, "n columns"], count: int, size: int) -> tuple[Array, Array]:
    """Rows in ``count`` blocks of ``size`` rows, and their mask."""
    padded = _repeat_last(rows, count * size - len(rows))
    mask = (jnp.arange(count * size) < len(rows)).astype(rows.dtype)
    return padded.reshape(count, size, rows.shape[1]), mask.reshape(count, size)


def point_mesh(devices: Sequence[Device] | None) -> Mesh | None:
    """The mesh of the devices that share the rows; None for a single device."""
    return Mesh(np.asarray(devices), (_POINTS,)) if devices is not None and len(devices) > 1 else None


def _sharded(function: Callable[..., _T], mesh: Mesh | None, replicated: Any, *by_row: Array) -> _T:
    """``function(replicated, *by_row)`` with the rows divided among the devices. It returns arrays with one entry per
    row."""
    if mesh is None:
        return function(replicated, *by_row)
    n = len(by_row[0])
    padded = [_repeat_last(a, -n % mesh.size) for a in by_row]
    specs = (_REPLICATED, *[_SHARDED] * len(padded))
    results = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=_SHARDED, check_vma=False)(
        replicated, *padded
    )
    return jax.tree.map(lambda a: a[:n], results)


def map_rows(
    function: Callable[[Float[Array, "s columns"]], Float[Array, "s k"]],
    rows: Float[Array, "n columns"],
    mesh: Mesh | None = None,
) -> Float[Array, "n k"]:
    """Apply a function of a block of rows to all rows.

    Args:
        function: a block (s, columns) -> (s, k); a pytree if there is a mesh.
        rows: (n, columns).
        mesh: the devices that share the rows.

    Returns:
        (n, k).
    """
    return _sharded(_map_rows, mesh, function, rows)


def _map_rows(function: Callable[[Array], Array], rows: Float[Array, "n columns"]) -> Float[Array, "n k"]:
    n = len(rows)
    blocks, _ = _padded(rows, -(-n // SHARED_BLOCK), SHARED_BLOCK) if n > SHARED_BLOCK else in_blocks(rows, n)
    r = jax.lax.map(function, blocks) if len(blocks) > 1 else function(blocks[0])
    return r.reshape(-1, r.shape[-1])[:n]


def map_rows_with_jacobian(
    residual: RowResidual,
    vector: Float[Array, " p"],
    rows: Float[Array, "n columns"],
    scale: Float[Array, " n"],
    mesh: Mesh | None = None,
) -> tuple[Float[Array, "n k"], Float[Array, "nk p"]]:
    """The residual at every row, and the Jacobian of ``scaleᵢ residual(vector, rowᵢ)`` by reverse mode.

    Args:
        residual: a ``RowResidual`` of a parameter vector.
        vector: (p,) the parameters.
        rows: (n, columns).
        scale: (n,) the factor of each row in the Jacobian.
        mesh: the devices that share the rows.

    Returns:
        The residuals (n, k) without the factor, and the Jacobian (n k, p), where the k components of a row are
        adjacent.
    """
    r, jacobian = _sharded(_map_rows_with_jacobian, mesh, (residual, vector), rows, scale)
    return r, jacobian.reshape(-1, len(vector))


def _map_rows_with_jacobian(
    replicated: tuple[RowResidual, Array], rows: Float[Array, "n columns"], scale: Float[Array, " n"]
) -> tuple[Float[Array, "n k"], Float[Array, "n k p"]]:
    residual, vector = replicated
    n, (blocks, _) = len(rows), in_blocks(jnp.concatenate([rows, scale[:, None]], axis=1), SHARED_BLOCK)

    def residual_and_jacobian(row: Array) -> tuple[Array, Array]:
        r, pull = jax.vjp(lambda v: residual(v, row[:-1]), vector)
        return r, jax.vmap(lambda unit: pull(unit)[0])(row[-1] * jnp.eye(len(r), dtype=r.dtype))

    r, jacobian = jax.lax.map(jax.vmap(residual_and_jacobian), blocks)
    k = r.shape[-1]
    return r.reshape(-1, k)[:n], jacobian.reshape(-1, k, len(vector))[:n]


def sum_of_squares_and_grad(
    residual: RowResidual,
    params: _T,
    rows: Float[Array, "n columns"],
    importance: Float[Array, " n"] | None,
    mesh: Mesh | None = None,
) -> tuple[Float[Array, ""], _T]:
    """Σᵢ importanceᵢ |r(params, rowᵢ)|² and its gradient, summed over the blocks.

    Args:
        residual: r.
        params: the parameters, in the form that r takes.
        rows: (n, columns).
        importance: (n,), or None for 1.
        mesh: the devices that share the rows.
    """
    if mesh is None:
        return _sum_of_squares_and_grad(residual, params, rows, importance)
    counts = jnp.ones(len(rows), rows.dtype) if importance is None else importance
    padding = -len(rows) % mesh.size  # the number of repeated rows, which get importance 0
    rows = _repeat_last(rows, padding)
    counts = jnp.concatenate([counts, jnp.zeros(padding, rows.dtype)])

    def on_device(replicated: tuple[RowResidual, _T], rows: Array, counts: Array) -> tuple[Array, _T]:
        residual, params = replicated
        return jax.lax.psum(_sum_of_squares_and_grad(residual, params, rows, counts), _POINTS)

    specs = (_REPLICATED, _SHARDED, _SHARDED)
    summed = jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=_REPLICATED, check_vma=False)
    return summed((residual, params), rows, counts)


def _sum_of_squares_and_grad(
    residual: RowResidual, params: _T, rows: Float[Array, "n columns"], importance: Float[Array, " n"] | None
) -> tuple[Float[Array, ""], _T]:
    blocks, mask = in_blocks(rows, BLOCK)
    if importance is not None:
        mask = mask * in_blocks(importance[:, None], BLOCK)[0][..., 0]

    def block_sum(params: _T, block: Array, mask: Array) -> Array:
        r = jax.vmap(lambda row: residual(params, row))(block)
        return jnp.sum(mask * jnp.sum(r**2, axis=-1))

    def add_block(total: tuple[Array, _T], block_and_mask: tuple[Array, Array]) -> tuple[tuple[Array, _T], None]:
        return jax.tree.map(jnp.add, total, jax.value_and_grad(block_sum)(params, *block_and_mask)), None

    zero = (jnp.zeros((), rows.dtype), jax.tree.map(jnp.zeros_like, params))
    if len(blocks) == 1:  # no loop around a single block, which compiles faster
        return add_block(zero, (blocks[0], mask[0]))[0]
    return jax.lax.scan(add_block, zero, (blocks, mask))[0]
