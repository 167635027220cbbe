"""Residuals of terms at many points, and their derivatives with respect to the parameters, block by block.

Points are handled in blocks that fit the cache: memory stays flat, and a block's intermediate values are still in cache
when the reverse pass wants them. Where there are several devices each has a share of the rows.
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

#: Points a block: 512 rows keep the activations and tangents of a block within a core's L2 cache;
#: benchmarks/derivatives.py measures other sizes.
BLOCK = 512
#: Points a block where a program needs the residuals at several sets of points: all their blocks have this size, and
#: are traced once. The rows of a Jacobian are as long as the parameters, and want no larger blocks either.
SHARED_BLOCK = 256

#: The axis of a mesh of devices that share the rows.
_POINTS = "points"
_SHARE, _WHOLE = PartitionSpec(_POINTS), PartitionSpec()

_T = TypeVar("_T")
_P = ParamSpec("_P")

#: (parameters, row) -> (k,): the residual of a term at one row, parameters in any form; a pytree where there is a mesh.
RowResidual = Callable[..., Array]


def compiled_once(function: Callable[_P, _T], static_argnames: tuple[str, ...] = ()) -> Callable[_P, _T]:
    """jit as a call that XLA does not copy to every place it is made from: a line search evaluates the loss in seven
    places, and compiling took seven times as long (16 s against 9 s for L-BFGS on black_scholes)."""
    jitted = jax.jit(function, static_argnames=static_argnames)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with set_xla_metadata(inlineable="false"):
            return jitted(*args, **kwargs)

    return call


def in_blocks(rows: Float[Array, "n columns"], size: int) -> tuple[Float[Array, "b s columns"], Float[Array, "b s"]]:
    """Rows in equal blocks of at most ``size``, the last one filled up with repeated rows that a mask of 0 marks."""
    n = len(rows)
    count = -(-n // size)
    return _filled(rows, count, -(-n // count))


def _filled(rows: Float[Array, "n columns"], count: int, size: int) -> tuple[Array, Array]:
    filled = jnp.concatenate([rows, jnp.repeat(rows[-1:], count * size - len(rows), axis=0)])
    mask = (jnp.arange(count * size) < len(rows)).astype(rows.dtype)
    return filled.reshape(count, size, rows.shape[1]), mask.reshape(count, size)


def split_over(devices: Sequence[Any] | None) -> Mesh | None:
    """Devices to split the rows over; None for none or a single one."""
    return Mesh(np.asarray(devices), (_POINTS,)) if devices is not None and len(devices) > 1 else None


def _split(function: Callable[..., Any], mesh: Mesh | None, whole: Any, *of_rows: Array) -> Any:
    """``function(whole, …)`` of arrays with an entry a row, which returns such arrays: each device has its share of the
    rows, and all of what is whole."""
    if mesh is None:
        return function(whole, *of_rows)
    n = len(of_rows[0])
    filled = [jnp.concatenate([a, jnp.repeat(a[-1:], -n % mesh.size, axis=0)]) for a in of_rows]
    specs = (_WHOLE, *[_SHARE] * len(filled))
    results = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=_SHARE, check_vma=False)(whole, *filled)
    return jax.tree.map(lambda a: a[:n], results)


def values(
    of_block: Callable[[Float[Array, "s columns"]], Float[Array, "s k"]],
    rows: Float[Array, "n columns"],
    mesh: Mesh | None = None,
) -> Float[Array, "n k"]:
    """The residual at every row, from a function of a block of them: a pytree, where there is a mesh."""
    return _split(_values, mesh, of_block, rows)


def _values(of_block: Callable[[Array], Array], rows: Float[Array, "n columns"]) -> Float[Array, "n k"]:
    n = len(rows)
    blocks, _ = _filled(rows, -(-n // SHARED_BLOCK), SHARED_BLOCK) if n > SHARED_BLOCK else in_blocks(rows, n)
    r = jax.lax.map(of_block, blocks) if len(blocks) > 1 else of_block(blocks[0])
    return r.reshape(-1, r.shape[-1])[:n]


def values_and_jacobian(
    residual: RowResidual,
    vector: Float[Array, " p"],
    rows: Float[Array, "n columns"],
    scale: Float[Array, " n"],
    mesh: Mesh | None = None,
) -> tuple[Float[Array, "n k"], Float[Array, "nk p"]]:
    """The residual at every row; and the Jacobian of ``scaleᵢ residual(vector, rowᵢ)``, a row's components next to each
    other, by reverse mode."""
    r, jacobian = _split(_values_and_jacobian, mesh, (residual, vector), rows, scale)
    return r, jacobian.reshape(-1, len(vector))


def _values_and_jacobian(
    whole: tuple[RowResidual, Array], rows: Float[Array, "n columns"], scale: Float[Array, " n"]
) -> tuple[Float[Array, "n k"], Float[Array, "n k p"]]:
    residual, vector = whole
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
    """Σᵢ importanceᵢ |r(params, rowᵢ)|² and its gradient, summed block by block."""
    if mesh is None:
        return _sum_of_squares_and_grad(residual, params, rows, importance)
    counts = jnp.ones(len(rows), rows.dtype) if importance is None else importance
    idle = -len(rows) % mesh.size  # repeats that count for nothing
    rows = jnp.concatenate([rows, jnp.repeat(rows[-1:], idle, axis=0)])
    counts = jnp.concatenate([counts, jnp.zeros(idle, rows.dtype)])

    def of_share(whole: Any, rows: Array, counts: Array) -> Any:
        residual, params = whole
        return jax.lax.psum(_sum_of_squares_and_grad(residual, params, rows, counts), _POINTS)

    specs = (_WHOLE, _SHARE, _SHARE)
    summed = jax.shard_map(of_share, mesh=mesh, in_specs=specs, out_specs=_WHOLE, check_vma=False)
    return summed((residual, params), rows, counts)


def _sum_of_squares_and_grad(
    residual: RowResidual, params: _T, rows: Float[Array, "n columns"], importance: Float[Array, " n"] | None
) -> tuple[Float[Array, ""], _T]:
    blocks, mask = in_blocks(rows, BLOCK)
    if importance is not None:
        mask = mask * in_blocks(importance[:, None], BLOCK)[0][..., 0]

    def of_block(params: _T, block: Array, mask: Array) -> Array:
        r = jax.vmap(lambda row: residual(params, row))(block)
        return jnp.sum(mask * jnp.sum(r**2, axis=-1))

    def add(total: tuple[Array, _T], block_and_mask: tuple[Array, Array]) -> tuple[tuple[Array, _T], None]:
        return jax.tree.map(jnp.add, total, jax.value_and_grad(of_block)(params, *block_and_mask)), None

    zero = (jnp.zeros((), rows.dtype), jax.tree.map(jnp.zeros_like, params))
    if len(blocks) == 1:  # no loop around a single block: less to compile
        return add(zero, (blocks[0], mask[0]))[0]
    return jax.lax.scan(add, zero, (blocks, mask))[0]
