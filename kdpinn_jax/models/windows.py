"""Long times in windows: each begins where the one before ended, and all of them are the same problem.

An equation that does not depend on t is the same in every window of the same length; only the initial value changes,
and that is a term. Its numbers are dynamic, so that the third window compiles nothing.
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
from ..pde.conditions import row_misfit
from ..pde.problem import Term
from .model import Model

#: How far beyond a window, as a share of its length, a time may lie by rounding: 0.1 · 3 is not 0.3.
_SLACK = 1e-9


def initial_from(before: Model, term: str | Term = "initial") -> Term:
    """The initial term of the next window: u(t₀, x) = before(t₁, x), t₀ and t₁ the ends of the problem's time axis.

        second = kd.train_teacher(problem, key, terms={"initial": kd.continued(first)})

    Every field is handed over. The model before is asked once a draw of points, and no gradient reaches it. Its
    parameters are a good start, worth half of the steps (kuramoto_sivashinsky: 7e-5 after 60 steps of
    Levenberg–Marquardt, fresh ones 4e-4, and 1e-4 after 100):

        target = kd.objective(problem, first.network, terms={"initial": kd.continued(first)})
        second = dataclasses.replace(first, params=kd.fit(target, first.params, key, stages).params)

    Args:
        before: the model of the window before, of the same problem; its equation must not depend on t.
        term: whose points are taken, all of them on the face t = t₀: a name among the problem's terms, or the term.

    Raises:
        ValueError: the problem has no term of this name, or its ansatz satisfies it whatever the window before did.
    """
    problem = before.problem
    if isinstance(term, str):
        if term not in problem.terms:
            raise ValueError(
                f"continued: problem {problem.name!r} has no term {term!r}{nearest(term, problem.terms)}; "
                "name the one with its initial value"
            )
        if term in problem.enforced:
            raise ValueError(
                f"continued: the ansatz of problem {problem.name!r} satisfies {term!r} identically, so every window "
                "would begin as the first; train kd.with_conditions(problem, 'soft') or a problem without it"
            )
        term = problem.terms[term]
    rows = Partial(_handed_over, replace(before, training=()), term.sample)
    return Term(rows, row_misfit(len(problem.axes)), term.count)


def _handed_over(before: Model, draw: Partial, key: Array, n: int) -> Float[Array, "n columns"]:
    """Rows (z, before(t₁, x)) for the points z = (t₀, x) drawn."""
    z = draw(key, n)[:, : len(before.problem.axes)]
    ends = z.at[:, 0].set(before.problem.upper[0]).astype(before.dtype)
    return jax.lax.stop_gradient(jnp.concatenate([z, jax.vmap(before.field)(ends).astype(z.dtype)], axis=1))


def predict_windows(models: Sequence[Model], z: ArrayLike) -> Float[Array, "n m"]:
    """The fields at global times: with time axis [t₀, t₁], window i holds t₀ + i (t₁ − t₀) ≤ t < t₀ + (i + 1)(t₁ − t₀).

    Args:
        models: one a window, in their order, all of the same problem; networks may differ.
        z: points (n, d), columns as ``problem.axes``; t counts on through all windows.

    Returns:
        (n, m), columns as ``problem.fields``.

    Raises:
        ValueError: no models, models of different problems, z not (n, d), or a time outside the windows.
    """
    if not models:
        raise ValueError("in_windows: models is empty; give one model a window")
    problem = models[0].problem
    for i, model in enumerate(models):
        if model.problem is not problem:
            raise ValueError(
                f"in_windows: model {i} is of another problem ({model.problem.name!r}) than model 0 "
                f"({problem.name!r}); windows share one problem"
            )
    points = np.array(z, np.float64)
    if points.ndim != 2 or points.shape[1] != len(problem.axes) or not len(points):
        raise ValueError(
            f"in_windows: points have shape {points.shape}; expected (n, {len(problem.axes)}), n ≥ 1, with the columns "
            f"{', '.join(problem.axes)}"
        )
    begin, length = problem.lower[0], problem.upper[0] - problem.lower[0]
    since = (points[:, 0] - begin) / length
    if not np.all((since >= -_SLACK) & (since <= len(models) + _SLACK)):  # NaN is outside, too
        raise ValueError(
            f"in_windows: times from {points[:, 0].min()} to {points[:, 0].max()}, but {len(models)} windows hold "
            f"{begin} to {begin + len(models) * length}"
        )
    window = np.clip(np.floor(since).astype(int), 0, len(models) - 1)
    points[:, 0] -= window * length
    size = np.bincount(window).max()  # all windows are filled up to this many points: one compiled size
    found = np.empty((len(points), len(problem.fields)), models[0].dtype)
    for i in np.unique(window):
        (rows,) = np.nonzero(window == i)
        found[rows] = models[i](points[np.resize(rows, size)])[: len(rows)]
    return jnp.asarray(found)
