"""A function of one row mapped over many rows in blocks, with derivatives with respect to the parameters.

Rows are processed in blocks that fit the cache: memory use stays constant, and the intermediate values of a block are
still in cache when the reverse pass needs them. Several devices each process a share of the rows.
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
#: Points per block in programs that need the residuals at several sets of points: all their blocks have this size and
#: are traced once. The rows of a Jacobian are as long as the parameter vector, so larger blocks do not help there either.
SHARED_BLOCK = 256

#: The axis of a mesh of devices that share the rows.
_POINTS = "points"
_SHARDED, _REPLICATED = PartitionSpec(_POINTS), PartitionSpec()

_T = TypeVar("_T")
_P = ParamSpec("_P")

#: (parameters, row) -> (k,): the residual of a term at one row, with parameters in any form. It must be a pytree if there
#: is a mesh.
RowResidual = Callable[[Any, Array], Array]


def compiled_once(function: Callable[_P, _T], static_argnames: tuple[str, ...] = ()) -> Callable[_P, _T]:
    """``jax.jit`` with a call that XLA does not inline at every call site.

    A line search evaluates the loss in seven places, and inlining made compiling take nearly twice as long (16 s against
    9 s for L-BFGS on black_scholes).
    """
    jitted = jax.jit(function, static_argnames=static_argnames)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with set_xla_metadata(inlineable="false"):
            return jitted(*args, **kwargs)

    return call


def in_blocks(rows: Float[Array, "n columns"], size: int) -> tuple[Float[Array, "b s columns"], Float[Array, "b s"]]:
    """Rows in equal blocks of at most ``size``. The last block is padded with repeated rows, which have mask 0."""
    n = len(rows)
    count = -(-n // size)
    return _padded(rows, count, -(-n // count))


def _padded(rows: Float[Array, "n columns"], count: int, size: int) -> tuple[Array, Array]:
    padded = jnp.concatenate([rows, jnp.repeat(rows[-1:], count * size - len(rows), axis=0)])
    mask = (jnp.arange(count * size) < len(rows)).astype(rows.dtype)
    return padded.reshape(count, size, rows.shape[1]), mask.reshape(count, size)


def point_mesh(devices: Sequence[Device] | None) -> Mesh | None:
    """The devices to divide the rows among; None for a single one."""
    return Mesh(np.asarray(devices), (_POINTS,)) if devices is not None and len(devices) > 1 else None


def _sharded(function: Callable[..., _T], mesh: Mesh | None, replicated: Any, *by_row: Array) -> _T:
    """``function(replicated, …)`` of arrays with one entry per row, returning such arrays, with the rows divided among
    the devices."""
    if mesh is None:
        return function(replicated, *by_row)
    n = len(by_row[0])
    padded = [jnp.concatenate([a, jnp.repeat(a[-1:], -n % mesh.size, axis=0)]) for a in by_row]
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
    """A function of a block of rows, applied to all rows. It must be a pytree if there is a mesh."""
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

    The k components of a row are adjacent rows of the Jacobian.
    """
    r, jacobian = _sharded(_map_rows_with_jacobian, mesh, (residual, vector), rows, scale)
    return r, jacobian.reshape(-1, len(vector))


def _map_rows_with_jacobian(
    replicated: tuple[RowResidual, Array], rows: Float[Array, "n columns"], scale: Float[Array, " n"]
) -> tuple[Float[Array, "n k"], Float[Array, "n k p"]]:
    residual, vector = replicated
    n, (blocks, _) = len(rows), in_blocks(jnp.concatenate([rows, scale[:, None]], axis=1), SHARED_BLOCK)

    def at(row: Array) -> tuple[Array, Array]:
        r, pull = jax.vjp(lambda v: residual(v, row[:-1]), vector)
        return r, jax.vmap(lambda unit: pull(unit)[0])(row[-1] * jnp.eye(len(r), dtype=r.dtype))

    r, jacobian = jax.lax.map(jax.vmap(at), blocks)
    k = r.shape[-1]
    return r.reshape(-1, k)[:n], jacobian.reshape(-1, k, len(vector))[:n]


def sum_of_squares_and_grad(
    residual: RowResidual,
    params: _T,
    rows: Float[Array, "n columns"],
    importance: Float[Array, " n"] | None,
    mesh: Mesh | None = None,
) -> tuple[Float[Array, ""], _T]:
    """Σᵢ importanceᵢ |r(params, rowᵢ)|² and its gradient, summed over the blocks."""
    if mesh is None:
        return _sum_of_squares_and_grad(residual, params, rows, importance)
    counts = jnp.ones(len(rows), rows.dtype) if importance is None else importance
    padding = -len(rows) % mesh.size  # repeated rows with importance 0
    rows = jnp.concatenate([rows, jnp.repeat(rows[-1:], padding, axis=0)])
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

    def add(total: tuple[Array, _T], block_and_mask: tuple[Array, Array]) -> tuple[tuple[Array, _T], None]:
        return jax.tree.map(jnp.add, total, jax.value_and_grad(block_sum)(params, *block_and_mask)), None

    zero = (jnp.zeros((), rows.dtype), jax.tree.map(jnp.zeros_like, params))
    if len(blocks) == 1:  # no loop around a single block, which compiles faster
        return add(zero, (blocks[0], mask[0]))[0]
    return jax.lax.scan(add, zero, (blocks, mask))[0]
