"""Fields, derivatives and residuals of a model at many points, always in float64, and the norms taken over them."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ..base.types import Coefficients, Field, Params
from ..models.model import Model, network_field
from ..pde.networks import MLP
from ..pde.problem import Problem
from ..training.blocks import map_rows
from .estimates import ErrorEstimate, Kind, NoBound, Norm

#: ``(problem, û, z, coefficients) -> (k,)``: what is wanted at one point; a module's function, so that jit keeps it.
OfPoint = Callable[[Problem, Field, Array, Coefficients], Array]
#: The most points a call; fewer are filled up to a power of two, so that few sizes are compiled.
_PIECE = 8192
#: Said by every bound.
SAMPLED = (
    "the maxima and integrals are taken over samples in float64 and are off by no more than their change when every "
    "other sample is left out, which is added (part 'sampling margin')"
)


def at_points(model: Model, of_point: OfPoint, z: Float[np.ndarray, "*shape d"]) -> Float[np.ndarray, "*shape k"]:
    """``of_point`` at points z (…, d), in float64 whatever the model's and the caller's precision.

    Raises:
        ValueError: the model is not finite there.
    """
    flat = z.reshape(-1, z.shape[-1])
    piece = min(_PIECE, 1 << (len(flat) - 1).bit_length())
    filled = np.concatenate([flat, np.repeat(flat[-1:], -len(flat) % piece, axis=0)])
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.params)
        coefficients = {name: jnp.asarray(value, jnp.float64) for name, value in model.coefficients.items()}
        call = functools.partial(_of_piece, of_point, model.problem, model.network, params, coefficients)
        pieces = [np.asarray(call(jnp.asarray(filled[i : i + piece]))) for i in range(0, len(filled), piece)]
    found = np.concatenate(pieces)[: len(flat)]
    if not np.isfinite(found).all():
        raise ValueError(
            f"error_estimate: the model of {model.problem.name!r} or its residual is not finite on its domain"
        )
    return found.reshape(*z.shape[:-1], -1)


@functools.partial(jax.jit, static_argnames=("of_point", "problem", "network"))
def _of_piece(
    of_point: OfPoint, problem: Problem, network: MLP, params: Params, coefficients: dict[str, Array], z: Array
) -> Array:
    u = network_field(problem, network, params, coefficients)
    return map_rows(jax.vmap(lambda row: of_point(problem, u, row, coefficients)), z)


def scalar_coefficients(model: Model) -> dict[str, float]:
    """The coefficients as Python floats.

    Raises:
        ValueError: one is not a single number.
    """
    if any(np.size(value) != 1 for value in model.coefficients.values()):
        raise ValueError(f"error_estimate: coefficients {model.coefficients} must be single scalar_coefficients")
    return {name: float(value) for name, value in model.coefficients.items()}


def field_value(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    """û."""
    return u(z)


def headline(problem: Problem) -> list[int]:
    """Columns of the fields an error is quoted of."""
    names = problem.fields if problem.headline is None else problem.headline[1]
    return [problem.fields.index(name) for name in names]


def check_equation(problem: Problem, definition: Problem) -> None:
    """A theorem holds for one equation, with its conditions, on one domain.

    Raises:
        NoBound: ``problem`` has another domain or other terms than ``definition``.
    """
    if not np.allclose((problem.lower, problem.upper), (definition.lower, definition.upper)):
        raise NoBound(
            f"the bound holds on the domain {definition.lower} to {definition.upper}, not {problem.lower} to "
            f"{problem.upper}"
        )
    # Terms are compared by identity, and so are all that ``with_conditions`` and ``load`` return.
    names = {*problem.terms, *definition.terms}
    if changed := sorted(name for name in names if problem.terms.get(name) is not definition.terms.get(name)):
        raise NoBound(f"the bound is derived for {definition.name!r}, and this problem has other terms: {changed}")


def bound_with_margin(
    model: Model, norm: Norm, of_share: Callable[[int], tuple[float, dict[str, float]]], assumptions: tuple[str, ...]
) -> ErrorEstimate:
    """The bound from ``of_share(step)`` -> (value, parts), which sees every ``step``-th sample: the value from all of
    them, plus what leaving out every other one changes."""
    value, parts = of_share(1)
    margin = abs(value - of_share(2)[0])
    return as_estimate(
        model, norm, value + margin, "bound", (*assumptions, SAMPLED), parts | {"sampling margin": margin}
    )


def as_estimate(
    model: Model, norm: Norm, value: float, kind: Kind, assumptions: tuple[str, ...], parts: Mapping[str, float]
) -> ErrorEstimate:
    """An ``ErrorEstimate``, with the model's own norm for ``relative``."""
    own = norm.size(pointwise_error(model, norm.samples(model.problem)))
    relative = value / own if own > 0 else math.inf
    return ErrorEstimate(
        float(value), float(relative), norm, kind, assumptions, {k: float(v) for k, v in parts.items()}
    )


def pointwise_error(
    model: Model, z: Float[np.ndarray, "t n d"], other: np.ndarray | float = 0.0
) -> Float[np.ndarray, "t n"]:
    """|û − other| of the headline's fields at the samples."""
    difference = at_points(model, field_value, z) - other
    return np.linalg.norm(difference[..., headline(model.problem)], axis=-1)


def midpoints(problem: Problem, times: int, per_axis: int) -> Float[np.ndarray, "t n d"]:
    """Evenly spaced times, both ends included, and the centres of per_axisᵈ⁻¹ equal cells in space."""
    t = np.linspace(problem.lower[0], problem.upper[0], times)
    cells = (np.arange(per_axis) + 0.5) / per_axis
    axes = [a + (b - a) * cells for a, b in zip(problem.lower[1:], problem.upper[1:], strict=True)]
    return np.stack(np.meshgrid(t, *axes, indexing="ij"), axis=-1).reshape(times, -1, len(problem.axes))


def trapezoid(y: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """∫ y dx from x₀ up to each node, by the trapezoidal rule."""
    return np.concatenate([[0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])
