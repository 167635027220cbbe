"""The points of a training: the first, and how a stage's ``Sampling`` renews them."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Params, Points
from ..pde.sampling import Sampling, choose_by_size
from .objective import Objective, term_residuals


def sample(objective: Objective, key: Array) -> Points:
    """Fresh points of every term, ``count`` of each, drawn evenly."""
    return draw_evenly(objective, Sampling(), key)


def draw_evenly(objective: Objective, sampling: Sampling, key: Array) -> Points:
    """Points as the samplers give them, as many as this sampling says: a stage's first, before a residual is known."""
    for name in sampling.adaptive:
        if name not in objective.terms:
            raise ValueError(
                f"Sampling: adaptive term {name!r} is unknown{nearest(name, objective.terms)}; the default stages look "
                "for the equation under the name 'residual'"
            )
    rows = {
        name: objective.terms[name].sample(k, sampling.points(objective.terms[name].count))
        for name, k in _keys(objective, key).items()
    }
    weighed = sampling.adaptive if sampling.unbiased else ()
    return Points(rows, {name: jnp.ones(len(rows[name]), rows[name].dtype) for name in weighed})


def renew(objective: Objective, sampling: Sampling, params: Params, key: Array, old: Points, step: Array) -> Points:
    """The points after ``step`` steps, those of ``sampling.adaptive`` terms where the residual is large.

    All are new during the warm phase and at its end. Later it is the turn of every k-th row, k = 1/replace, of the
    next k-th after that, and so on: a row lives for k draws, and each part of a union of sets keeps its share.
    """
    key_even, key_adaptive = jax.random.split(key)
    fresh, keys = draw_evenly(objective, sampling, key_even), _keys(objective, key_adaptive)
    for name in sampling.adaptive:
        rows, importance = _where_large(objective, sampling, params, name, keys[name])
        fresh.rows[name] = rows
        if name in fresh.importance:
            fresh.importance[name] = jnp.where(step < sampling.warm, 1.0, importance)
    turns = max(1, round(1 / sampling.replace))
    if turns == 1:
        return fresh
    whole = step < sampling.warm + sampling.every

    def take_turns(new: Array, before: Array) -> Array:
        due = whole | (jnp.arange(len(new)) % turns == (step // sampling.every) % turns)
        return jnp.where(due.reshape(-1, *(1,) * (new.ndim - 1)), new, before)

    return jax.tree.map(take_turns, fresh, old)


def _keys(objective: Objective, key: Array) -> dict[str, Array]:
    """A key a term, in the order jit gives a dict, so that a key means the same points there."""
    return dict(zip(sorted(objective.terms), jax.random.split(key, len(objective.terms)), strict=True))


def _where_large(
    objective: Objective, sampling: Sampling, params: Params, name: str, key: Array
) -> tuple[Float[Array, "n columns"], Float[Array, " n"]]:
    """Rows of a term drawn by the size of its residual, and what each must count for to leave the mean unbiased."""
    key_rows, key_choice = jax.random.split(key)
    count = sampling.points(objective.terms[name].count)
    candidates = objective.terms[name].sample(key_rows, sampling.candidates * count)
    # Sorted by their columns: every eighth Sobol point lies in one slab of the box, but every eighth of the sorted ones
    # is a Sobol sequence again, so that equally spaced choices from them keep the points even.
    candidates = candidates[jnp.lexsort(candidates.T[::-1])]
    sizes = jnp.linalg.norm(term_residuals(objective, params, name, candidates), axis=-1)
    # A residual that is not a number somewhere must not take the whole choice with it; the loss will show it.
    chosen, importance = choose_by_size(key_choice, jnp.where(jnp.isfinite(sizes), sizes, 0.0), count)
    return candidates[chosen], importance
