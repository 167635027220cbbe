"""The points of a training: the first, and how a stage's ``Sampling`` renews them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from ._names import nearest
from ._objective import Objective, term_residuals
from ._problem import Term
from ._sampling import Sampling, choose_by_size
from ._types import Params, Points


def sample(objective: Objective, key: Array) -> Points:
    """Fresh points of every term, ``count`` of each, drawn evenly."""
    return Points({name: term.sample(k, term.count) for name, term, k in _keyed(objective, key)}, {})


def _keyed(objective: Objective, key: Array) -> list[tuple[str, Term, Array]]:
    keys = jax.random.split(key, len(objective.terms))
    terms = sorted(objective.terms.items())  # the order jit gives a dict, so that a key means the same points there
    return [(name, term, k) for k, (name, term) in zip(keys, terms, strict=True)]


def draw_evenly(objective: Objective, sampling: Sampling, key: Array) -> Points:
    """Points as the samplers give them, as many as this sampling says: a stage's first, before a residual is known."""
    for name in sampling.adaptive:
        if name not in objective.terms:
            raise ValueError(f"Sampling: adaptive term {name!r} is unknown{nearest(name, objective.terms)}")
    rows = {name: term.sample(k, sampling.points(term.count)) for name, term, k in _keyed(objective, key)}
    weighed = sampling.adaptive if sampling.unbiased else ()
    return Points(rows, {name: jnp.ones(len(rows[name]), rows[name].dtype) for name in weighed})


def renew(objective: Objective, sampling: Sampling, params: Params, key: Array, old: Points, step: Array) -> Points:
    """The points after ``step`` steps, those of ``sampling.adaptive`` terms where the residual is large.

    All are new during the warm phase and at its end. Later the oldest share of each term's goes, and as many new ones
    come to the front: a whole draw of that size, so that every part of a union of sets gets its own.
    """
    warm, whole = step < sampling.warm, step < sampling.warm + sampling.every
    points = Points({}, {})
    for name, term, k in _keyed(objective, key):
        draw = _adaptive if name in sampling.adaptive else _even
        choose = draw(objective, sampling, params, name, k)
        n = sampling.points(term.count)
        rows, importance = choose(n)
        if (fresh := max(1, round(sampling.replace * n))) < n:
            some, their_importance = choose(fresh)
            mixed = jnp.concatenate([some, old.rows[name][: n - fresh]])
            rows = jnp.where(whole, rows, mixed)
            if name in old.importance:
                kept = old.importance[name][: n - fresh]
                importance = jnp.where(whole, importance, jnp.concatenate([their_importance, kept]))
        points.rows[name] = rows
        if name in old.importance:
            points.importance[name] = jnp.where(warm, 1.0, importance)
    return points


#: How many -> that many rows, and what each counts for.
_Choice = Callable[[int], tuple[Array, Array]]


def _even(objective: Objective, sampling: Sampling, params: Params, name: str, key: Array) -> _Choice:
    def choose(n: int) -> tuple[Array, Array]:
        rows = objective.terms[name].sample(key, n)
        return rows, jnp.ones(n, rows.dtype)

    return choose


def _adaptive(objective: Objective, sampling: Sampling, params: Params, name: str, key: Array) -> _Choice:
    term = objective.terms[name]
    key_rows, key_choice = jax.random.split(key)
    candidates = term.sample(key_rows, sampling.candidates * sampling.points(term.count))
    # Sorted by their columns: every eighth Sobol point lies in one slab of the box, but every eighth of the sorted ones
    # is a Sobol sequence again, so that equally spaced choices from them keep the points even.
    candidates = candidates[jnp.lexsort(candidates.T[::-1])]
    sizes = jnp.linalg.norm(term_residuals(objective, params, name, candidates), axis=-1)

    def choose(n: int) -> tuple[Array, Array]:
        chosen, importance = choose_by_size(key_choice, sizes, n)
        return candidates[chosen], importance

    return choose
