"""How wrong a model is: errors against the reference on a dense grid, beyond the domain, and residual norms."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ._model import Model
from ._network import MLP
from ._objective import Objective, mean_square_at, network_field
from ._problem import Problem, Term
from ._types import Params, is_traced

#: Points an axis of the dense grid, by the number of axes; training never sees it.
GRID = {1: 1001, 2: 101, 3: 41}
#: Points an axis of the grid watched during training: a look must cost less than a step.
COARSE = {1: 101, 2: 33, 3: 11}
#: How far the last axis is extended on its right, as a share of its width.
EXTRAPOLATION = {"mild right": 0.1, "hard right": 0.5}
#: Reference values are computed in pieces: a spectral reference holds one number a point and mode.
_PIECE = 4096


class Errors(NamedTuple):
    """Errors of one quantity: √mean|e|², ‖e‖₂/‖u‖₂, and the largest |e|, in the units of u."""

    rmse: float
    relative_l2: float
    max_error: float


class Metrics(NamedTuple):
    """What ``evaluate`` finds.

    Attributes:
        quantity: the name of the error quoted first (``"u"``, ``"velocity"``); empty without a reference.
        errors: ``{quantity or field: Errors}`` on the domain.
        extrapolation: ``{"mild right": {…}, "hard right": {…}}``, on the extension alone, where the reference
            goes on.
        residuals: ``{term: √mean|r|²}`` at points training did not draw, also of terms the ansatz satisfies.
    """

    quantity: str
    errors: dict[str, Errors]
    extrapolation: dict[str, dict[str, Errors]]
    residuals: dict[str, float]

    @property
    def rmse(self) -> float:
        return self.errors[self.quantity].rmse

    @property
    def relative_l2(self) -> float:
        return self.errors[self.quantity].relative_l2

    @property
    def max_error(self) -> float:
        return self.errors[self.quantity].max_error

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return {
            "quantity": self.quantity,
            **({} if not self.errors else self.errors[self.quantity]._asdict()),
            "fields": {name: e._asdict() for name, e in self.errors.items()},
            "extrapolation": {k: {n: e._asdict() for n, e in es.items()} for k, es in self.extrapolation.items()},
            "residuals": self.residuals,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Metrics":
        """The inverse of ``as_dict``.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: something else.
        """
        errors = lambda of: {str(name): Errors(*(float(e[key]) for key in Errors._fields)) for name, e in of.items()}
        metrics = cls(
            quantity=str(found["quantity"]),
            errors=errors(found["fields"]),
            extrapolation={str(name): errors(of) for name, of in found["extrapolation"].items()},
            residuals={str(name): float(value) for name, value in found["residuals"].items()},
        )
        if metrics.errors and metrics.quantity not in metrics.errors:
            raise ValueError(f"no error of {metrics.quantity!r}, which is quoted first")
        return metrics


def grid(lower: tuple[float, ...], upper: tuple[float, ...], per_axis: int) -> Float[np.ndarray, "n d"]:
    """The uniform grid on [lower, upper], both ends included, the last axis fastest: (per_axisᵈ, d), float64."""
    axes = [np.linspace(a, b, per_axis) for a, b in zip(lower, upper, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(lower))


def reference_values(problem: Problem, coefficients: dict[str, Any], z: Float[np.ndarray, "n d"]) -> np.ndarray:
    """The reference at points z: (n, m), always in float64, whatever the caller's precision.

    Raises:
        ValueError: the problem has no reference, or none at these coefficients.
    """
    field = _compiled_reference(problem, _hashable(coefficients))
    # The last piece is filled up with repeats: one compiled size serves every grid.
    filled = np.concatenate([z, np.repeat(z[-1:], -len(z) % _PIECE, axis=0)])
    pieces = [field(filled[i : i + _PIECE]) for i in range(0, len(filled), _PIECE)]
    return np.concatenate(pieces)[: len(z)]


@functools.lru_cache(maxsize=8)
def _compiled_reference(
    problem: Problem, coefficients: tuple[tuple[str, float], ...]
) -> Callable[[np.ndarray], np.ndarray]:
    if problem.reference is None:
        raise ValueError(f"problem {problem.name!r} has no reference solution to compare with")
    start = problem.reference

    def arithmetic(task: Callable[[], Any]) -> Any:
        try:
            with jax.enable_x64(True):
                return task()
        except ArithmeticError as error:  # a Reynolds number of 0, a volatility of 1e300
            raise ValueError(
                f"problem {problem.name!r} has no reference at {dict(coefficients)} ({error}); change the coefficients"
            ) from None

    field = arithmetic(lambda: jax.jit(jax.vmap(start(dict(coefficients)))))
    return lambda z: arithmetic(lambda: np.asarray(field(jnp.asarray(z))))


@functools.lru_cache(maxsize=32)
def _on_grid(
    problem: Problem,
    coefficients: tuple[tuple[str, float], ...],
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    per_axis: int,
) -> tuple[np.ndarray, np.ndarray]:
    z = grid(lower, upper, per_axis)
    return z, reference_values(problem, dict(coefficients), z)


def _hashable(coefficients: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, float(value)) for name, value in coefficients.items()))


def _quantities(problem: Problem) -> dict[str, list[int]]:
    """Columns of each quantity, the one quoted first at the front."""
    fields = {name: [i] for i, name in enumerate(problem.fields)}
    if problem.headline is None:
        return fields
    name, members = problem.headline
    return {name: [problem.fields.index(member) for member in members]} | fields


def errors(problem: Problem, u: Float[np.ndarray, "n m"], exact: Float[np.ndarray, "n m"]) -> dict[str, Errors]:
    """Errors of each quantity; that of a vector (velocity) is taken over the error's length."""
    found = {}
    for name, columns in _quantities(problem).items():
        length = np.linalg.norm(u[:, columns] - exact[:, columns], axis=1)
        norm = np.linalg.norm(exact[:, columns])
        found[name] = Errors(
            float(np.sqrt(np.mean(length**2))), float(np.linalg.norm(length) / norm), float(np.max(length))
        )
    return found


def evaluate(model: Model, *, predict: Callable[[ArrayLike], ArrayLike] | None = None) -> Metrics:
    """Errors of a model on the dense grid and beyond the domain, and its residual norms.

    Args:
        model: what to judge.
        predict: what to call instead of the model, (n, d) -> (n, m): its float32 predictor, say.

    Returns:
        ``Metrics``; without a reference its errors are empty.
    """
    problem, call = model.problem, predict or model
    found: dict[str, dict[str, Errors]] = {}
    if problem.reference is not None:
        per_axis = GRID.get(len(problem.axes), 11)
        coefficients = _hashable(model.coefficients)
        regions = {"domain": (problem.lower, problem.upper)} | {
            name: _beyond(problem, share) for name, share in EXTRAPOLATION.items()
        }
        for name, (lower, upper) in regions.items():
            z, exact = _on_grid(problem, coefficients, lower, upper, per_axis)
            if np.isfinite(exact).all():  # a reference that stops at the domain's edge is NaN beyond it
                found[name] = errors(problem, np.asarray(call(z.astype(model.dtype)), np.float64), exact)
    return Metrics(
        quantity=next(iter(_quantities(problem))) if found else "",
        errors=found.pop("domain", {}),
        extrapolation=found,
        residuals=_residual_norms(model),
    )


def _beyond(problem: Problem, share: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    width = problem.upper[-1] - problem.lower[-1]
    return (*problem.lower[:-1], problem.upper[-1]), (*problem.upper[:-1], problem.upper[-1] + share * width)


def _residual_norms(model: Model) -> dict[str, float]:
    norms = {}
    for i, (name, term) in enumerate(model.problem.terms.items()):
        # A fixed key: the same model gets the same number every time. Training keys are split, never this one.
        rows = _sample(term, jax.random.fold_in(jax.random.key(0), i))
        square = mean_square_at(model.problem, model.network, term, model.params, model.coefficients, rows)
        norms[name] = float(jnp.sqrt(square))
    return norms


@jax.jit
def _sample(term: Term, key: Array) -> Float[Array, "n columns"]:
    return term.sample(key, term.count)


def error_monitor(objective: Objective) -> Callable[[Params], Array] | None:
    """params -> relative L2 error of the first quantity on a coarse grid; None without a reference to compare with."""
    problem = objective.problem
    if problem.reference is None or is_traced(objective.coefficients):
        return None
    per_axis = COARSE.get(len(problem.axes), 5)
    z, exact = _on_grid(problem, _hashable(objective.coefficients), problem.lower, problem.upper, per_axis)
    columns = tuple(next(iter(_quantities(problem).values())))
    points, exact = jnp.asarray(z), jnp.asarray(exact)
    return lambda params: _relative_l2(
        problem, objective.network, columns, params, objective.coefficients, points, exact
    )


@functools.partial(jax.jit, static_argnames=("problem", "network", "columns"))
def _relative_l2(
    problem: Problem,
    network: MLP,
    columns: tuple[int, ...],
    params: Params,
    coefficients: dict[str, Any],
    z: Array,
    exact: Array,
) -> Array:
    u = jax.vmap(network_field(problem, network, params, coefficients))(z)
    chosen = jnp.asarray(columns)
    return jnp.linalg.norm(u[:, chosen] - exact[:, chosen]) / jnp.linalg.norm(exact[:, chosen])
