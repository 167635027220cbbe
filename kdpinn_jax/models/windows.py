"""Long times in windows: each window starts from the final state of the previous one, and all share one problem.

An equation that does not depend on t is the same in every window of the same length. Only the initial values change,
and they are the dynamic data of a term: from the third window on nothing is compiled.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Sampler
from ..pde.conditions import row_misfit
from ..pde.problem import Term
from .model import Model

#: The fraction of a window's length by which rounding may move a time outside: 0.1 · 3 is not 0.3.
_SLACK = 1e-9


def initial_from(before: Model, term: str | Term = "initial") -> Term:
    """The initial term of the next window: u(t₀, x) = before(t₁, x) on the time axis [t₀, t₁] of the problem.

        second = kd.train_teacher(problem, key, terms={"initial": kd.initial_from(first)})

    All fields are prescribed. The previous model is evaluated once per draw of points, and no gradient reaches it. Its
    parameters are a good initial guess that saves half of the steps (kuramoto_sivashinsky: an error of 7e-5 after 60
    steps of Levenberg–Marquardt; from fresh parameters 4e-4, and 1e-4 after 100):

        target = kd.objective(problem, first.network, terms={"initial": kd.initial_from(first)})
        second = dataclasses.replace(first, params=kd.fit(target, first.params, key, stages).params)

    Args:
        before: the model of the previous window, of the same problem; its equation must not depend on t.
        term: the term that supplies the points, all on the face t = t₀: a name among the problem's terms, or a term.

    Raises:
        ValueError: the problem has no term of this name, or its ansatz satisfies the term in every window.
    """
    problem = before.problem
    if isinstance(term, str):
        if term not in problem.terms:
            raise ValueError(
                f"initial_from: problem {problem.name!r} has no term {term!r}{nearest(term, problem.terms)}; "
                "name the term of its initial value"
            )
        if term in problem.enforced:
            raise ValueError(
                f"initial_from: the ansatz of problem {problem.name!r} satisfies {term!r} identically, so every window "
                "would start like the first; use kd.with_conditions(problem, 'soft') or a problem without the ansatz"
            )
        term = problem.terms[term]
    sample = Partial(_sample_final_state, replace(before, training=()), term.sample)
    return Term(sample, row_misfit(len(problem.axes)), term.count)


def _sample_final_state(before: Model, draw: Sampler, key: Array, n: int) -> Float[Array, "n columns"]:
    """Rows (z, before(t₁, x)) at points z = (t₀, x)."""
    z = draw(key, n)[:, : len(before.problem.axes)]
    at_end = z.at[:, 0].set(before.problem.upper[0]).astype(before.dtype)
    return jax.lax.stop_gradient(jnp.concatenate([z, jax.vmap(before.field)(at_end).astype(z.dtype)], axis=1))


def predict_windows(models: Sequence[Model], z: ArrayLike) -> Float[Array, "n m"]:
    """The fields at global times.

    With time axis [t₀, t₁], window i covers t₀ + i (t₁ − t₀) ≤ t < t₀ + (i + 1)(t₁ − t₀).

    Args:
        models: one per window, in order, all of the same problem; their networks may differ.
        z: points (n, d), columns as ``problem.axes``; t runs through all windows.

    Returns:
        (n, m), columns as ``problem.fields``.

    Raises:
        ValueError: no models, models of different problems, z not of shape (n, d), or a time outside the windows.
    """
    if not models:
        raise ValueError("predict_windows: models is empty; pass one model per window")
    problem = models[0].problem
    for i, model in enumerate(models):
        if model.problem != problem:
            raise ValueError(
                f"predict_windows: model {i} solves another problem ({model.problem.name!r}) than model 0 "
                f"({problem.name!r}); all windows must share one problem"
            )
    points = np.array(z, np.float64)
    if points.ndim != 2 or points.shape[1] != len(problem.axes) or not len(points):
        raise ValueError(
            f"predict_windows: points have shape {points.shape}; expected (n, {len(problem.axes)}), n ≥ 1, "
            f"with columns {', '.join(problem.axes)}"
        )
    begin, length = problem.lower[0], problem.upper[0] - problem.lower[0]
    lengths_elapsed = (points[:, 0] - begin) / length
    # The condition is false for NaN.
    if not np.all((lengths_elapsed >= -_SLACK) & (lengths_elapsed <= len(models) + _SLACK)):
        raise ValueError(
            f"predict_windows: times run from {points[:, 0].min()} to {points[:, 0].max()}, but {len(models)} windows "
            f"cover {begin} to {begin + len(models) * length}; add windows or remove those times"
        )
    window = np.clip(np.floor(lengths_elapsed).astype(int), 0, len(models) - 1)
    points[:, 0] -= window * length
    size = np.bincount(
        window
    ).max()  # the points of every window are padded to this number, so that one size is compiled
    values = np.empty((len(points), len(problem.fields)), models[0].dtype)
    for i in np.unique(window):
        (rows,) = np.nonzero(window == i)
        values[rows] = models[i](points[np.resize(rows, size)])[: len(rows)]
    return jnp.asarray(values)
