"""The points of a training: the first points, and how a stage's ``Sampling`` renews them."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Params, Points
from .objective import Objective
from .resampling import Sampling, importance_resample
from .residuals import term_residuals


def sample(objective: Objective, key: Array) -> Points:
    """Fresh, evenly drawn points of every term, ``term.count`` of each.

    Args:
        objective: the terms.
        key: a JAX random key.
    """
    return draw_evenly(objective, Sampling(), key)


def draw_evenly(objective: Objective, sampling: Sampling, key: Array) -> Points:
    """The first points of a stage: ``sampling`` prescribes how many, and the terms' samplers draw them.

    Args:
        objective: the terms.
        sampling: the stage's sampling.
        key: a JAX random key.

    Raises:
        ValueError: an adaptive term is unknown.
    """
    for name in sampling.adaptive:
        if name not in objective.terms:
            raise ValueError(
                f"Sampling: adaptive term {name!r} is unknown{nearest(name, objective.terms)}; the default stages "
                "expect the equation's term under the name 'residual'"
            )
    rows = {
        name: _draw(objective, name, k, sampling.points(objective.terms[name].count))
        for name, k in _keys(objective, key).items()
    }
    weighted = sampling.adaptive if sampling.unbiased else ()
    return Points(rows, {name: jnp.ones(len(rows[name]), rows[name].dtype) for name in weighted})


def renew(objective: Objective, sampling: Sampling, params: Params, key: Array, old: Points, step: Array) -> Points:
    """The points after ``step`` steps. Those of ``sampling.adaptive`` terms concentrate where the residual is large.

    All points are new during the warm phase and at its end. Afterwards each draw replaces every k-th row,
    k = 1/replace, and starts one row later each time: a row lasts for k draws, and each part of a union of sets keeps
    its share.
    """
    key_even, key_adaptive = jax.random.split(key)
    fresh, keys = draw_evenly(objective, sampling, key_even), _keys(objective, key_adaptive)
    for name in sampling.adaptive:
        rows, importance = _draw_adaptively(objective, sampling, params, name, keys[name])
        fresh.rows[name] = rows
        if name in fresh.importance:
            fresh.importance[name] = jnp.where(step < sampling.warm, 1.0, importance)
    turns = max(1, round(1 / sampling.replace))
    if turns == 1:
        return fresh
    all_new = step < sampling.warm + sampling.every

    def replace_due(new: Array, before: Array) -> Array:
        due = all_new | (jnp.arange(len(new)) % turns == (step // sampling.every) % turns)
        return jnp.where(due.reshape(-1, *(1,) * (new.ndim - 1)), new, before)

    return jax.tree.map(replace_due, fresh, old)


def _draw(objective: Objective, name: str, key: Array, n: int) -> Float[Array, "n columns"]:
    """n rows of a term.

    Raises:
        ValueError: its sampler returns another number of rows.
    """
    rows = objective.terms[name].sample(key, n)
    if len(rows) != n:
        raise ValueError(
            f"term {name!r}: sample(key, {n}) returns {len(rows)} rows; expected {n}, as many as asked for"
        )
    return rows


def _keys(objective: Objective, key: Array) -> dict[str, Array]:
    """One key per term, in the order in which jit traverses a dict, so that jit does not change the points."""
    return dict(zip(sorted(objective.terms), jax.random.split(key, len(objective.terms)), strict=True))


def _draw_adaptively(
    objective: Objective, sampling: Sampling, params: Params, name: str, key: Array
) -> tuple[Float[Array, "n columns"], Float[Array, " n"]]:
    """Rows of a term drawn by the size of its residual, and the importance weights that leave the mean unbiased."""
    key_rows, key_choice = jax.random.split(key)
    count = sampling.points(objective.terms[name].count)
    candidates = _draw(objective, name, key_rows, sampling.candidates * count)
    # Every eighth Sobol point lies in one slab of the box, but every eighth of the sorted points is again a Sobol
    # sequence. Sorting by columns therefore keeps equally spaced choices even.
    candidates = candidates[jnp.lexsort(candidates.T[::-1])]
    sizes = jnp.linalg.norm(term_residuals(objective, params, name, candidates), axis=-1)
    # A residual that is NaN at one candidate must not invalidate the whole choice; the loss shows it.
    chosen, importance = importance_resample(key_choice, jnp.where(jnp.isfinite(sizes), sizes, 0.0), count)
    return candidates[chosen], importance
