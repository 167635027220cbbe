"""How wrong a model is: errors against the reference on a dense grid, beyond the domain, and residual norms."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.types import Params, is_traced
from ..models.grids import counts_of, hashable, on_grid
from ..models.model import Model
from ..pde.networks import MLP
from ..pde.problem import Problem, Term
from ..training.objective import Objective, mean_square_at, network_field

#: How far the last axis of space is extended on its right, as a share of its width.
EXTRAPOLATION = {"mild right": 0.1, "hard right": 0.5}


class Errors(NamedTuple):
    """Errors of one quantity: √mean|e|², ‖e‖₂/‖u‖₂, and the largest |e|, in the units of u."""

    rmse: float
    relative_l2: float
    max_error: float


class Member(NamedTuple):
    """The errors of one member of a family, of the quantity quoted first."""

    coefficients: dict[str, float]
    errors: Errors


class Metrics(NamedTuple):
    """What ``evaluate`` finds.

    Attributes:
        quantity: the name of the error quoted first (``"u"``, ``"velocity"``); empty without a reference.
        errors: ``{quantity or field: Errors}`` on the domain.
        extrapolation: ``{"mild right": {…}, "hard right": {…}}``, on the extension alone, where the reference
            goes on.
        residuals: ``{term: √mean|r|²}`` at points training did not draw, also of terms the ansatz satisfies.
        members: of a family, the errors at each set of coefficients on the grid over their ranges, the largest relative
            L2 error first; ``errors`` are over all of them.
    """

    quantity: str
    errors: dict[str, Errors]
    extrapolation: dict[str, dict[str, Errors]]
    residuals: dict[str, float]
    members: tuple[Member, ...] = ()

    @property
    def rmse(self) -> float:
        return self.errors[self.quantity].rmse

    @property
    def relative_l2(self) -> float:
        return self.errors[self.quantity].relative_l2

    @property
    def max_error(self) -> float:
        return self.errors[self.quantity].max_error

    @property
    def corners(self) -> tuple[Member, ...]:
        """The members at the corners of the ranges, the worst first."""
        ends = {}
        for member in self.members:
            for name, value in member.coefficients.items():
                low, high = ends.get(name, (value, value))
                ends[name] = min(low, value), max(high, value)
        return tuple(m for m in self.members if all(value in ends[name] for name, value in m.coefficients.items()))

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return {
            "quantity": self.quantity,
            **({} if not self.errors else self.errors[self.quantity]._asdict()),
            "fields": {name: e._asdict() for name, e in self.errors.items()},
            "extrapolation": {k: {n: e._asdict() for n, e in es.items()} for k, es in self.extrapolation.items()},
            "residuals": self.residuals,
            "members": [_as_dict(member) for member in self.members],
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Metrics":
        """The inverse of ``as_dict``.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: something else.
        """
        one = lambda e: Errors(*(float(e[key]) for key in Errors._fields))
        errors = lambda of: {str(name): one(e) for name, e in of.items()}
        numbers = lambda of: {str(name): float(value) for name, value in of.items()}
        members = lambda of: tuple(Member(numbers(member["coefficients"]), one(member)) for member in of)
        metrics = cls(
            quantity=str(found["quantity"]),
            errors=errors(found["fields"]),
            extrapolation={str(name): errors(of) for name, of in found["extrapolation"].items()},
            residuals=numbers(found["residuals"]),
            members=members(found.get("members", ())),
        )
        if metrics.errors and metrics.quantity not in metrics.errors:
            raise ValueError(f"no error of {metrics.quantity!r}, which is quoted first")
        return metrics


def _as_dict(member: Member) -> dict[str, Any]:
    return {"coefficients": member.coefficients, **member.errors._asdict()}


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
    members: tuple[Member, ...] = ()
    if problem.reference is not None:
        coefficients = hashable(model.coefficients)
        regions = {"domain": (problem.lower, problem.upper)} | {
            name: _beyond(problem, share) for name, share in EXTRAPOLATION.items()
        }
        for name, (lower, upper) in regions.items():
            z, exact = on_grid(problem, coefficients, lower, upper, counts_of(problem))
            if np.isfinite(exact).all():  # a reference that stops at the domain's edge is NaN beyond it
                u = np.asarray(call(z.astype(model.dtype)), np.float64)
                found[name] = errors(problem, u, exact)
                if name == "domain" and problem.family:
                    members = _members(problem, z, u, exact)
    return Metrics(
        quantity=next(iter(_quantities(problem))) if found else "",
        errors=found.pop("domain", {}),
        extrapolation=found,
        residuals=_residual_norms(model),
        members=members,
    )


def _members(
    problem: Problem, z: Float[np.ndarray, "n d"], u: Float[np.ndarray, "n m"], exact: Float[np.ndarray, "n m"]
) -> tuple[Member, ...]:
    """The errors of each member on a grid, whose last axes, the fastest, are the coefficients."""
    count = math.prod(counts_of(problem)[problem.coordinates :])
    quantity = next(iter(_quantities(problem)))
    found = []
    for i in range(count):
        coefficients = dict(zip(problem.family, z[i, problem.coordinates :].tolist(), strict=True))
        found.append(Member(coefficients, errors(problem, u[i::count], exact[i::count])[quantity]))
    return tuple(sorted(found, key=lambda member: -member.errors.relative_l2))


def _beyond(problem: Problem, share: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    lower, upper, last = list(problem.lower), list(problem.upper), problem.coordinates - 1
    lower[last], upper[last] = upper[last], upper[last] + share * (upper[last] - lower[last])
    return tuple(lower), tuple(upper)


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
    counts = counts_of(problem, coarse=True)
    z, exact = on_grid(problem, hashable(objective.coefficients), problem.lower, problem.upper, counts)
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
