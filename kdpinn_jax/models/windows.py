"""Long times in windows: each window starts from the final state of the previous one, and all share one problem.

An equation that does not depend on t is the same in every window of the same length. Only the initial values change,
and the previous model is the dynamic data of a term: from the third window on nothing is compiled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Coefficients, Field, Residual, is_traced
from ..pde.problem import Problem, Term
from .model import Model

#: The fraction of a window's length by which rounding may move a time outside: 0.1 · 3 is not 0.3.
_SLACK = 1e-9
#: The distance of an initial point from t₀, relative to the window, that is rounding (of float32).
_ROUNDING = 1e-6
#: The number of points by which a term is recognised as an initial condition.
_SAMPLES = 16


def initial_from(before: Model, term: str | Term = "initial") -> Term:
    """An initial term of the next window, which starts from the state of ``before`` at t₁, the end of the time axis.

        second = kd.train_teacher(problem, key, terms={"initial": kd.initial_from(first)})

    The term hands over exactly what it constrains: with its residual r it requires r(u) = r(before) at t₀ and t₁. For
    r = u − g that is u(t₀, x) = before(t₁, x), and for a condition on the slope uₜ − h, as in an equation of second
    order in time, it is uₜ(t₀, x) = ∂ₜ before(t₁, x). Such an equation needs both:

        terms = {name: kd.initial_from(first, name) for name in ("initial", "initial_slope")}

    No gradient reaches the previous model. Its parameters are a good initial guess that saves half of the steps
    (kuramoto_sivashinsky: an error of 7e-5 after 60 steps of Levenberg–Marquardt; from fresh parameters 4e-4, and 1e-4
    after 100):

        target = kd.objective(problem, first.network, terms={"initial": kd.initial_from(first)})
        second = dataclasses.replace(first, params=kd.fit(target, first.params, key, stages).params)

    Args:
        before: the model of the previous window, of the same problem; its equation must not depend on t.
        term: the initial condition, whose points all lie on the face t = t₀: a name among the problem's terms, or a
            term.

    Raises:
        ValueError: the problem has no term of this name, its ansatz satisfies the term in every window, or the term is
            no initial condition.
    """
    problem, name = before.problem, term if isinstance(term, str) else "term"
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
    if not _is_initial(problem, term):
        raise ValueError(
            f"initial_from: {name!r} has points away from t = {problem.lower[0]:g}, so it is no initial condition; "
            f"the initial conditions of problem {problem.name!r} are {_initial_terms(problem) or 'unknown'}"
        )
    return replace(term, residual=Partial(_continued_residual, term.residual, replace(before, training=())))


def _continued_residual(residual: Residual, before: Model, u: Field, row: Array, c: Coefficients) -> Array:
    """r(u) − r(before) at a row (t₀, x), with the previous model one window later."""
    length = before.problem.upper[0] - before.problem.lower[0]

    def end(z: Array) -> Array:
        return before.field(z.at[0].add(length).astype(before.dtype)).astype(z.dtype)

    return residual(u, row, c) - jax.lax.stop_gradient(residual(end, row, c))


def check_continuation(problem: Problem, terms: Mapping[str, Term]) -> None:
    """Raise ValueError if some initial conditions continue a previous window and others start like the first one.

    Args:
        problem: the problem.
        terms: the terms that the caller adds or replaces; a condition that is given explicitly is intended.
    """
    continued = [name for name, term in terms.items() if _continues(term)]
    if not continued:
        return
    forgotten = [name for name in _initial_terms(problem) if name not in terms and name not in problem.enforced]
    if forgotten:
        names = ", ".join(f"{name!r}: kd.initial_from(before, {name!r})" for name in forgotten)
        raise ValueError(
            f"terms: {', '.join(map(repr, continued))} continues from the previous window, but "
            f"{', '.join(map(repr, forgotten))} would still start it like the first one; add {names}, or "
            f"{forgotten[0]!r}: problem.terms[{forgotten[0]!r}] if it holds at the start of every window"
        )


def _continues(term: Term) -> bool:
    return isinstance(term.residual, Partial) and term.residual.func is _continued_residual


def _initial_terms(problem: Problem) -> list[str]:
    return [name for name, term in problem.terms.items() if _is_initial(problem, term)]


def _is_initial(problem: Problem, term: Term) -> bool:
    """Whether all points of a term lie on the face t = t₀; True for a sampler whose numbers are traced."""
    z = term.sample(jax.random.key(0), min(term.count, _SAMPLES))
    if is_traced(z):
        return True
    length = problem.upper[0] - problem.lower[0]
    return bool(np.all(np.abs(np.asarray(z)[:, 0] - problem.lower[0]) <= _ROUNDING * length))


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
