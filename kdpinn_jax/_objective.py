"""The weighted nonlinear least-squares problem that teacher and student are trained on.

    L(θ) = Σ_term w_term · (1/n) Σᵢ |r_term(u_θ, zᵢ)|²

Residual vectors are the base: a method that wants a loss squares them, one that wants curvature takes them as they
are. Points are handled in blocks that fit the cache, and the gradient is summed block by block, so that memory stays
flat and a block's intermediate values are still in cache when the reverse pass wants them.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.xla_metadata import set_xla_metadata
from jax.typing import ArrayLike
from jaxtyping import Float

from ._names import nearest
from ._network import MLP
from ._problem import Problem, Term, scale_to_unit
from ._sampling import choose_by_size
from ._types import Coefficients, Field, Params, Points, is_traced

#: Points a block: 512 rows keep the activations and tangents of a block within a core's L2 cache;
#: benchmarks/derivatives.py measures other sizes.
BLOCK = 512

#: What the history keeps beside the terms (``_fit``).
_RESERVED = {"loss", "step", "seconds", "relative_l2"}


_T = TypeVar("_T")
_P = ParamSpec("_P")


def _compiled_once(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """jit as a call that XLA does not copy to every place it is made from: a line search evaluates the loss in seven
    places, and compiling took seven times as long (16 s against 9 s for L-BFGS on black_scholes)."""
    jitted = jax.jit(function)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with set_xla_metadata(inlineable="false"):
            return jitted(*args, **kwargs)

    return call


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["terms", "weights", "coefficients"],
    meta_fields=["problem", "network"],
)
@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised: terms with weights, for one problem and one network. A pytree: problem and network static.

    Attributes:
        problem, network: what turns parameters into a field.
        terms: the terms in force, the problem's and others (soft targets).
        weights: one number a term, dynamic; a weight of 0 switches its term off.
        coefficients: the equation's numbers, dynamic.
    """

    problem: Problem
    network: MLP
    terms: dict[str, Term]
    weights: dict[str, ArrayLike]
    coefficients: dict[str, ArrayLike]


def objective(
    problem: Problem,
    network: MLP | None = None,
    *,
    terms: Mapping[str, Term] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    coefficients: Mapping[str, ArrayLike] | None = None,
) -> Objective:
    """The objective of a problem, with the caller's weights, coefficients and further terms over the problem's own.

    Args:
        problem: the PDE; the terms its ansatz enforces are left out.
        network: its output width is set from the problem; default the problem's teacher network.
        terms: added to the problem's terms by name.
        weights, coefficients: only those that differ from the problem's.

    Raises:
        ValueError: a weight or coefficient nobody knows is named, a weight is negative or not finite, or a term has a
            name the history needs.
    """
    network = network or problem.teacher
    network = network.clone(outputs=problem.outputs or len(problem.fields))
    in_force = {name: term for name, term in problem.terms.items() if name not in problem.enforced}
    in_force |= dict(terms or {})
    if taken := _RESERVED & set(in_force):
        raise ValueError(f"term names {sorted(taken)} are taken by the training history; rename them")
    defaults = dict.fromkeys(in_force, 1.0) | {k: v for k, v in problem.weights.items() if k in in_force}
    for name, value in (weights or {}).items():
        if not is_traced(value) and not np.all(np.asarray(value) >= 0):
            raise ValueError(f"weight {name}={value} must not be negative or NaN")
    return Objective(
        problem,
        network,
        in_force,
        defaults | _known("weight", weights, in_force, problem),
        dict(problem.coefficients) | _known("coefficient", coefficients, problem.coefficients, problem),
    )


def _known(
    what: str, given: Mapping[str, ArrayLike] | None, known: Iterable[str], problem: Problem
) -> dict[str, ArrayLike]:
    """The given numbers, checked; scalars as Python floats, so that their type never causes another trace."""
    checked: dict[str, ArrayLike] = {}
    for name, value in (given or {}).items():
        if name not in known:
            why = " (its ansatz satisfies it identically)" if name in problem.enforced else ""
            raise ValueError(f"{what} {name!r} is unknown to problem {problem.name!r}{why}{nearest(name, known)}")
        if is_traced(value):
            checked[name] = value
            continue
        number = np.asarray(value)
        if not np.isfinite(number).all():
            raise ValueError(f"{what} {name}={value} must be finite")
        checked[name] = value if number.ndim else float(number)
    return checked


def network_field(problem: Problem, network: MLP, params: Params, coefficients: Coefficients) -> Field:
    """embed → network → ansatz, as a function of one point z (d,) -> u (m,)."""
    embed = problem.embed or scale_to_unit(problem.lower, problem.upper)

    def net(z: Float[Array, " d"]) -> Float[Array, " outputs"]:
        return jnp.asarray(network.apply({"params": params}, embed(z)))

    if problem.ansatz is None:
        return net
    ansatz = problem.ansatz
    return lambda z: ansatz(net, z, coefficients)


@functools.partial(jax.jit, static_argnames=("problem", "network"))
def init_params(problem: Problem, network: MLP, key: Array) -> Params:
    """Fresh parameters, in float64 where the caller enabled it and float32 elsewhere."""
    z = jnp.asarray(problem.lower, jnp.zeros(()).dtype)
    embed = problem.embed or scale_to_unit(problem.lower, problem.upper)
    return network.init(key, embed(z))["params"]


def sample(objective: Objective, key: Array) -> Points:
    """Fresh points of every term: ``{name: (count, columns)}``."""
    keys = jax.random.split(key, len(objective.terms))
    terms = sorted(objective.terms.items())  # the order jit gives a dict, so that a key means the same points there
    return {name: term.sample(k, term.count) for k, (name, term) in zip(keys, terms, strict=True)}


def sample_adaptively(
    objective: Objective, params: Params, key: Array, adaptive: tuple[str, ...], candidates: int
) -> Points:
    """Fresh points; those of ``adaptive`` terms drawn with p ∝ |r|/mean|r| + 1 from ``candidates`` times as many."""
    points = sample(objective, key)
    u = network_field(objective.problem, objective.network, params, objective.coefficients)
    for name in adaptive:
        if name not in objective.terms:
            raise ValueError(f"Sampling: adaptive term {name!r} is unknown{nearest(name, objective.terms)}")
        term = objective.terms[name]
        key, key_rows, key_choice = jax.random.split(key, 3)
        rows = term.sample(key_rows, candidates * term.count)
        sizes = jnp.linalg.norm(_in_blocks(term, u, rows, objective.coefficients), axis=-1)
        points[name] = rows[choose_by_size(key_choice, sizes, term.count)]
    return points


def residuals(objective: Objective, params: Params, points: Points) -> dict[str, Float[Array, "_n _k"]]:
    """The unweighted residual of every term at its points: ``{name: (n, k)}``."""
    u = network_field(objective.problem, objective.network, params, objective.coefficients)
    return {name: _in_blocks(term, u, points[name], objective.coefficients) for name, term in objective.terms.items()}


@_compiled_once
def mean_squares(objective: Objective, params: Params, points: Points) -> dict[str, Float[Array, ""]]:
    """The unweighted mean square of every term, (1/n) Σᵢ |rᵢ|²: the parts of the loss, as the history keeps them."""
    return {name: jnp.mean(jnp.sum(r**2, axis=-1)) for name, r in residuals(objective, params, points).items()}


def weighted_sum(objective: Objective, parts: Mapping[str, Array]) -> Float[Array, ""]:
    """Σ_term w_term · part_term: the loss, from the mean squares."""
    total = jnp.zeros(())
    for name, part in parts.items():
        total = total + objective.weights[name] * part
    return total


def loss(objective: Objective, params: Params, points: Points) -> Float[Array, ""]:
    """The weighted sum of the mean squares; differentiable and jittable (``jax.jit(loss)``)."""
    return weighted_sum(objective, mean_squares(objective, params, points))


@_compiled_once
def loss_and_grad(
    objective: Objective, params: Params, points: Points
) -> tuple[tuple[Float[Array, ""], dict[str, Float[Array, ""]]], Params]:
    """((loss, mean squares), gradient), as ``jax.value_and_grad(…, has_aux=True)`` would give, block by block."""
    parts, gradient = {}, jax.tree.map(jnp.zeros_like, params)
    for name, term in objective.terms.items():
        parts[name], slope = _mean_square_and_grad(objective, term, params, points[name])
        weight = objective.weights[name]
        gradient = jax.tree.map(lambda total, g, w=weight: total + w * g, gradient, slope)
    return (weighted_sum(objective, parts), parts), gradient


def _mean_square_and_grad(
    objective: Objective, term: Term, params: Params, rows: Float[Array, "n columns"]
) -> tuple[Float[Array, ""], Params]:
    blocks, mask = _blocks(rows)

    def sum_of_squares(params: Params, block: Array, mask: Array) -> Array:
        u = network_field(objective.problem, objective.network, params, objective.coefficients)
        r = jax.vmap(lambda row: term.residual(u, row, objective.coefficients))(block)
        return jnp.sum(mask * jnp.sum(r**2, axis=-1))

    def add(total: tuple[Array, Params], block_and_mask: tuple[Array, Array]) -> tuple[tuple[Array, Params], None]:
        return jax.tree.map(jnp.add, total, jax.value_and_grad(sum_of_squares)(params, *block_and_mask)), None

    zero = (jnp.zeros((), rows.dtype), jax.tree.map(jnp.zeros_like, params))
    if len(blocks) == 1:  # no loop around a single block: less to compile
        total, _ = add(zero, (blocks[0], mask[0]))
    else:
        total, _ = jax.lax.scan(add, zero, (blocks, mask))
    return jax.tree.map(lambda x: x / len(rows), total)


def _blocks(rows: Float[Array, "n columns"]) -> tuple[Float[Array, "b s columns"], Float[Array, "b s"]]:
    """Rows in equal blocks of at most BLOCK, the last one filled up with repeated rows that a mask of 0 marks."""
    n = len(rows)
    count = -(-n // BLOCK)
    size = -(-n // count)
    filled = jnp.concatenate([rows, rows[: count * size - n]])
    mask = (jnp.arange(count * size) < n).astype(rows.dtype)
    return filled.reshape(count, size, rows.shape[1]), mask.reshape(count, size)


def _in_blocks(term: Term, u: Field, rows: Float[Array, "n columns"], coefficients: Coefficients) -> Array:
    blocks, _ = _blocks(rows)
    r = jax.lax.map(jax.vmap(lambda row: term.residual(u, row, coefficients)), blocks)
    return r.reshape(-1, r.shape[-1])[: len(rows)]
