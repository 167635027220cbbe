"""Fields, derivatives and residuals of a model at many points in float64, and norms computed from them."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ..base.chunks import map_chunks
from ..base.types import Coefficients, Field, Params
from ..models.metrics import headline
from ..models.model import Model, network_field
from ..pde.fingerprint import NoFingerprint
from ..pde.networks import MLP
from ..pde.problem import Problem
from ..training.blocks import map_rows
from .estimates import ErrorEstimate, Kind, NoBound, Norm

#: ``(problem, û, z, coefficients) -> (k,)``: a quantity at one point. It must be the same function in every
#: call, such as one defined at module level, so that jit compiles it once.
PointQuantity = Callable[[Problem, Field, Array, Coefficients], Array]
#: The largest number of points per call. Fewer points are padded to a power of two, so that few sizes are compiled.
_CHUNK = 8192
#: An assumption of every bound.
SAMPLED = (
    "maxima and integrals are taken over samples in float64; their error is at most the change when every other sample "
    "is left out, which is added (part 'sampling margin')"
)


def at_points(model: Model, quantity: PointQuantity, z: Float[np.ndarray, "*shape d"]) -> Float[np.ndarray, "*shape k"]:
    """A quantity at points z (…, d), in float64 regardless of the precision of the model and the caller.

    Raises:
        ValueError: the quantity is not finite at some point.
    """
    flat = z.reshape(-1, z.shape[-1])
    chunk = min(_CHUNK, 1 << (len(flat) - 1).bit_length())
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.params)
        coefficients = {name: jnp.asarray(value, jnp.float64) for name, value in model.coefficients.items()}
        call = functools.partial(_evaluate, quantity, model.problem, model.network, params, coefficients)
        values = map_chunks(lambda rows: call(jnp.asarray(rows)), chunk, flat)
    if not np.isfinite(values).all():
        raise ValueError(
            f"error_estimate: the model of {model.problem.name!r} or its residual is not finite on its domain"
        )
    return values.reshape(*z.shape[:-1], -1)


def data_at_points(
    model: Model, data: Callable[[Array, Coefficients], Array], z: Float[np.ndarray, "*shape d"]
) -> Float[np.ndarray, "*shape k"]:
    """Given data ``(z, coefficients) -> (k,)``, such as initial values, at points z (…, d), in float64.

    Raises:
        ValueError: the data are not finite at some point.
    """
    return at_points(model, _data_quantity(data), z)


@functools.cache  # the same function for the same data, so that jit compiles it once
def _data_quantity(data: Callable[[Array, Coefficients], Array]) -> PointQuantity:
    return lambda problem, u, z, c: data(z, c)


@functools.partial(jax.jit, static_argnames=("quantity", "problem", "network"))
def _evaluate(
    quantity: PointQuantity, problem: Problem, network: MLP, params: Params, coefficients: dict[str, Array], z: Array
) -> Array:
    u = network_field(problem, network, params, coefficients)
    return map_rows(jax.vmap(lambda row: quantity(problem, u, row, coefficients)), z)


def scalar_coefficients(model: Model) -> dict[str, float]:
    """The coefficients as Python floats.

    Raises:
        ValueError: a coefficient is not a single number.
    """
    if any(np.size(value) != 1 for value in model.coefficients.values()):
        raise ValueError(f"error_estimate: coefficients {model.coefficients} must be single numbers")
    return {name: float(value) for name, value in model.coefficients.items()}


def field_value(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    """û itself."""
    return u(z)


def value_and_residual(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    """û and the residual of the equation."""
    return jnp.concatenate([u(z), problem.terms["residual"].residual(u, z, c)])


def headline_columns(problem: Problem) -> list[int]:
    """The columns of the fields whose error is estimated: the headline quantity, or all fields if none is named."""
    return list(range(len(problem.fields))) if problem.headline is None else headline(problem)[1]


def check_equation(problem: Problem, definition: Problem) -> None:
    """Check that a theorem about ``definition`` applies to ``problem``.

    Raises:
        NoBound: the domain or the terms (equation and conditions) differ.
    """
    if not np.allclose((problem.lower, problem.upper), (definition.lower, definition.upper)):
        raise NoBound(
            f"the bound holds on the domain {definition.lower} to {definition.upper}, not {problem.lower} to "
            f"{problem.upper}"
        )
    if problem.inside is not None:
        raise NoBound(f"the bound holds on the whole box {definition.lower} to {definition.upper}, not a part of it")
    own, known = (_term_fingerprints(problem), _term_fingerprints(definition))
    if changed := sorted(name for name in {*own, *known} if own.get(name) != known.get(name)):
        raise NoBound(f"the bound is derived for {definition.name!r}, and this problem has other terms: {changed}")


def _term_fingerprints(problem: Problem) -> dict[str, str]:
    try:
        return problem.fingerprints.terms
    except NoFingerprint as reason:
        raise NoBound(str(reason)) from None


def bound_with_margin(
    model: Model,
    norm: Norm,
    bound_from_samples: Callable[[int], tuple[float, dict[str, float]]],
    assumptions: tuple[str, ...],
) -> ErrorEstimate:
    """A bound from all samples, plus its change when every other sample is left out.

    Args:
        model: the model.
        norm: the norm of the bound.
        bound_from_samples: ``step -> (value, parts)`` from every ``step``-th sample.
        assumptions: one sentence each.
    """
    value, parts = bound_from_samples(1)
    margin = abs(value - bound_from_samples(2)[0])
    return make_estimate(
        model, norm, value + margin, "bound", (*assumptions, SAMPLED), parts | {"sampling margin": margin}
    )


def make_estimate(
    model: Model, norm: Norm, value: float, kind: Kind, assumptions: tuple[str, ...], parts: Mapping[str, float]
) -> ErrorEstimate:
    """An ``ErrorEstimate`` whose ``relative`` is computed with the norm of the model itself."""
    size = norm.size(pointwise_error(model, norm.samples(model.problem)))
    relative = value / size if size > 0 else math.inf
    plain_parts = {name: float(part) for name, part in parts.items()}
    return ErrorEstimate(float(value), float(relative), norm, kind, assumptions, plain_parts)


def pointwise_error(
    model: Model, z: Float[np.ndarray, "t n d"], other: np.ndarray | float = 0.0
) -> Float[np.ndarray, "t n"]:
    """|û − other| over the headline fields at the samples."""
    difference = at_points(model, field_value, z) - other
    return np.linalg.norm(difference[..., headline_columns(model.problem)], axis=-1)


def midpoints(problem: Problem, times: int, per_axis: int) -> Float[np.ndarray, "t n d"]:
    """Evenly spaced times, both ends included, with the centres of per_axisᵈ⁻¹ equal cells in space."""
    t = np.linspace(problem.lower[0], problem.upper[0], times)
    cells = (np.arange(per_axis) + 0.5) / per_axis
    axes = [a + (b - a) * cells for a, b in zip(problem.lower[1:], problem.upper[1:], strict=True)]
    return np.stack(np.meshgrid(t, *axes, indexing="ij"), axis=-1).reshape(times, -1, len(problem.axes))


def trapezoid(y: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """∫ y dx from x₀ to each node, by the trapezoidal rule."""
    return np.concatenate([[0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])
