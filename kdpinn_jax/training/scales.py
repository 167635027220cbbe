"""The units of a problem: a check before training that its terms suit a network whose values are about 1.

The residual of each term is evaluated for a network that is zero, which leaves what the term prescribes, and for a sine
and a cosine over the domain, whose values are about 1.
"""

import functools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ..base.types import Coefficients
from ..pde.problem import Problem, Term
from ..pde.regions import term_kind
from .objective import Objective
from .step import compiled_sample

#: The size of the values that a condition prescribes, relative to those that a network of values of about 1 has there,
#: above which training fails: for the heat equation with values up to 20 it succeeds, with values up to 100 it stalls.
LARGE_VALUES = 50.0
#: The same for a source in an equation, which is large for a rapidly varying solution too.
LARGE_SOURCE = 1e5
#: The size of a term, with the square root of its weight, relative to that of the largest term, below which it is
#: ignored: its square enters the loss.
IGNORED = 3e-5


class Scale(NamedTuple):
    """The size of a term before training, in the units of its residual.

    Attributes:
        prescribed: the root mean square of the residual for a network that is zero.
        unit: the root of the mean square change to it by a sine and by a cosine.
        mean: (k,) the means of the values that a condition u = value prescribes, −r for a network that is zero.
        spread: (k,) their standard deviations.
        condition: whether the term is a condition or measured values, and no equation.
    """

    prescribed: float
    unit: float
    mean: np.ndarray
    spread: np.ndarray
    condition: bool


def warn_of_units(objective: Objective, caller: str) -> None:
    """Warn of terms that prescribe values far from 1, or that are negligible compared with another term.

    Args:
        objective: the objective, before training.
        caller: the name of the function that is called, for the message.
    """
    scales = term_scales(objective)
    # Another scale of the field changes the sizes of the terms, so only one advice is given.
    if advice := _scale_advice(objective, scales) or _weight_advice(objective, scales):
        warnings.warn(f"{caller}: {advice}; see 'Units' in docs/own_pde.md", RuntimeWarning, stacklevel=4)


def term_scales(objective: Objective) -> dict[str, Scale]:
    """The scale of each term that has a weight; those whose residual is not finite are left out."""
    rows, problem, scales = compiled_sample(objective, jax.random.key(0)).rows, objective.problem, {}
    for name, term in objective.terms.items():
        if np.any(np.asarray(objective.weights[name]) > 0):
            prescribed, unit, mean, spread = map(np.asarray, _scale(problem, term, objective.coefficients, rows[name]))
            condition = term_kind(problem, np.asarray(rows[name])) != "equation"
            scale = Scale(float(prescribed), float(unit), mean, spread, condition)
            if math.isfinite(scale.prescribed + scale.unit):
                scales[name] = scale
    return scales


@functools.partial(jax.jit, static_argnames=("problem",))
def _scale(
    problem: Problem, term: Term, coefficients: Coefficients, rows: Float[Array, "n columns"]
) -> tuple[Array, Array, Array, Array]:
    lower, upper = jnp.asarray(problem.lower, rows.dtype), jnp.asarray(problem.upper, rows.dtype)
    outputs = jnp.arange(problem.outputs or len(problem.fields), dtype=rows.dtype)

    def residuals(wave: Callable[[Array], Array]) -> Array:
        def net(z: Float[Array, " d"]) -> Float[Array, " outputs"]:
            return wave(outputs + jnp.sum((z - lower) / (upper - lower)))

        def u(z: Float[Array, " d"]) -> Float[Array, " m"]:
            return net(z) if problem.ansatz is None else problem.ansatz(net, z, coefficients)

        return jax.vmap(lambda row: term.residual(u, row, coefficients))(rows)

    at_zero = residuals(jnp.zeros_like)
    square = lambda r: jnp.mean(jnp.sum(r**2, axis=-1))
    unit = jnp.sqrt(square(residuals(jnp.sin) - at_zero) + square(residuals(jnp.cos) - at_zero))
    return jnp.sqrt(square(at_zero)), unit, -jnp.mean(at_zero, axis=0), jnp.std(at_zero, axis=0)


def _scale_advice(objective: Objective, scales: Mapping[str, Scale]) -> str:
    """Which term prescribes large values, and how to scale the field; empty if none does."""
    problem = objective.problem
    large = {
        name: scale
        for name, scale in scales.items()
        if scale.prescribed > (LARGE_VALUES if scale.condition else LARGE_SOURCE) * scale.unit > 0
    }
    if not large:
        return ""
    name = max(large, key=lambda name: (large[name].condition, large[name].prescribed / large[name].unit))
    scale = large[name]
    found = (
        f"term {name!r} prescribes {scale.prescribed:.1e} (root mean square), where a network whose values are about 1 "
        f"has {scale.unit:.1e}; scale the solution"
    )
    if problem.ansatz is not None:
        return f"{found} in the ansatz by about {_power(scale.prescribed / scale.unit):g}"
    # A condition on other than all fields has other components.
    values = [value for value in large.values() if value.condition and value.mean.shape == (len(problem.fields),)]
    if not values:
        return f"{found}, ansatz=lambda net, z, c: {_power(scale.prescribed / scale.unit):g} * net(z)"
    mean = np.mean([value.mean for value in values], axis=0)
    spread = np.sqrt(np.mean([value.spread**2 + (value.mean - mean) ** 2 for value in values], axis=0))
    if not np.all(spread > 1e-6 * np.abs(mean)):  # only the equation tells how far the solution is from a constant
        deviation = np.minimum(_deviation(objective, scales, mean), np.abs(mean))
        spread = np.where(spread > 1e-6 * np.abs(mean), spread, np.where(deviation > 0, deviation, 1.0))
    factors = [float(f"{s:.1g}") for s in spread]
    factor = "" if set(factors) == {1.0} else f"{_numbers(factors)} * "
    return f"{found}, ansatz=lambda net, z, c: {_numbers(mean)} + {factor}net(z)"


def _deviation(objective: Objective, scales: Mapping[str, Scale], mean: Float[np.ndarray, " m"]) -> float:
    """How far the solution is from a constant, by the residual of the constant relative to that of a wave of size 1."""
    rows = compiled_sample(objective, jax.random.key(0)).rows
    problem, ratios = objective.problem, [0.0]
    for name, scale in scales.items():
        if not scale.condition and scale.unit > 0:
            square = constant_field_square(
                problem, objective.terms[name], objective.coefficients, rows[name], jnp.asarray(mean)
            )
            ratios.append(math.sqrt(square) / scale.unit)
    return max(ratios)


@functools.partial(jax.jit, static_argnames=("problem",))
def constant_field_square(
    problem: Problem,
    term: Term,
    coefficients: Coefficients,
    rows: Float[Array, "n columns"],
    value: Float[Array, " m"],
) -> Float[Array, ""]:
    """The mean square of a term's residual for a constant field.

    Args:
        problem: supplies the fields.
        term: one of its terms.
        coefficients: of the equation.
        rows: of the term.
        value: the value of the field.
    """

    def constant(z: Float[Array, " d"]) -> Float[Array, " m"]:
        return value.astype(z.dtype)

    residuals = jax.vmap(lambda row: term.residual(constant, row, coefficients))(rows)
    return jnp.mean(jnp.sum(residuals**2, axis=-1))


def _weight_advice(objective: Objective, scales: Mapping[str, Scale]) -> str:
    """Which term is ignored, and a weight that changes this; empty if none is."""
    weights = {name: float(np.asarray(objective.weights[name])) for name in scales}
    sizes = {name: math.sqrt(weights[name]) * math.hypot(s.prescribed, s.unit) for name, s in scales.items()}
    sizes = {name: size for name, size in sizes.items() if size > 0}
    if not sizes:
        return ""
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if sizes[small] > IGNORED * sizes[large]:
        return ""
    # The weight of an equation is changed rather than that of one condition among several.
    name, other = (large, small) if scales[small].condition and not scales[large].condition else (small, large)
    weight = _power(weights[name] * (sizes[other] / sizes[name]) ** 2)
    return (
        f"term {small!r} is about {sizes[small] / sizes[large]:.0e} of {large!r} for a solution of about 1, so "
        f"training ignores it; divide the residual of {name!r} by its size, or use weights={{{name!r}: {weight:g}}}"
    )


def _numbers(values: Iterable[float]) -> str:
    """One number per field as Python code."""
    texts = [f"{value:.4g}" for value in values]
    return texts[0] if len(texts) == 1 else f"jnp.array([{', '.join(texts)}])"


def _power(number: float) -> float:
    """The power of ten next to a number."""
    return float(f"1e{round(math.log10(number))}")
