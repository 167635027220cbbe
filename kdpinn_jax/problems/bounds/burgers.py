"""A bound on the error of a model of Burgers' equation, by the L¹ contraction of scalar conservation laws."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from ...base.types import Coefficients, Field
from ...evaluation.estimates import ErrorEstimate, NoBound, Norm
from ...evaluation.norms import (
    at_points,
    bound_with_margin,
    check_equation,
    data_at_points,
    midpoints,
    scalar_coefficients,
    trapezoid,
)
from ...models.model import Model
from ...pde.derivatives import derivative
from ...pde.problem import Problem
from ..burgers import T, X, burgers, initial

#: The numbers of times and of points in x. Both are odd, so that every other sample includes both ends.
TIMES, POINTS = 129, 601
#: The points in x concentrate around 0, within this many ν. The shock is 2 ν wide and has ten points in it.
CORE = 5.0
#: The first time. It is not 0, because an ansatz may contain √t, which has no derivative there.
FIRST = 1e-12

NORM = Norm(
    "largest over t of the mean over x of |e|",
    samples=lambda problem: midpoints(problem, 65, 1600),
    size=lambda e: float(np.max(np.mean(e, axis=1))),
)


def _value_slopes_and_residual(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    """û, ûₜ, ûₓ and the residual."""
    return jnp.concatenate(
        [u(z), derivative(u, T)(z), derivative(u, X)(z), problem.terms["residual"].residual(u, z, c)]
    )


def bound(model: Model) -> ErrorEstimate:
    """A bound on max over t of ½∫|û − u| dx, where uₜ + u uₓ = ν uₓₓ, u(0, x) = −sin πx, u(t, ±1) = 0.

    Let ℓ(t, x) be linear in x with the values of û at x = ±1 (zero if the ansatz enforces them), v = û − ℓ, and R the
    residual of v, which is the residual of û minus ℓₜ + (û ℓ)ₓ − ℓ ℓₓ. Then e = v − u vanishes at both ends, and

        eₜ + (½(v + u) e)ₓ − ν eₓₓ = R.

    If this is multiplied by sign e and integrated over x, the flux vanishes and the diffusion can only reduce the norm:

        ‖e(t)‖₁ ≤ ‖e(0)‖₁ + ∫₀ᵗ ‖R(s)‖₁ ds,   ‖û − u‖₁ ≤ ‖ℓ‖₁ + ‖e‖₁

    for any ν and any steepness of the shock.

    In L², the energy method gives d‖e‖/dt ≤ ½ max(−ûₓ)₊ ‖e‖ + ‖R‖. It is not used, because −uₓ is up to 1/(2ν) at the
    shock, and the growth factor is e to the power of the part 'exponent of the energy bound in L2'. Because |u| ≤ 1,
    ‖e‖₂² ≤ ‖e‖₁ ‖e‖_∞ gives the part 'root mean square'.

    Args:
        model: a model of ``burgers``.

    Returns:
        The bound.

    Raises:
        NoBound: another domain, other terms, or nu ≤ 0.
        ValueError: the model or its residual is not finite.

    Source: Kružkov (1970), the L¹ contraction.
    """
    check_equation(model.problem, burgers)
    nu = scalar_coefficients(model)["nu"]
    if not nu > 0:
        raise NoBound(f"the bound requires nu > 0, not {nu}")
    t = np.maximum(np.linspace(0.0, 1.0, TIMES), FIRST)
    scale = min(CORE * nu, 1.0)
    x = scale * np.sinh(np.linspace(-1, 1, POINTS) * np.arcsinh(1 / scale))
    x[[0, -1]] = -1.0, 1.0
    z = np.stack(np.meshgrid(t, x, indexing="ij"), axis=-1)
    u, u_t, u_x, residual = np.moveaxis(at_points(model, _value_slopes_and_residual, z), -1, 0)
    # ℓ, ℓₜ and ℓₓ from the values at both ends.
    left, right = (1 - x) / 2, (1 + x) / 2
    lift, lift_t = (f[:, :1] * left + f[:, -1:] * right for f in (u, u_t))
    lift_x = (u[:, -1:] - u[:, :1]) / 2
    source = np.abs(residual - lift_t - u * lift_x - lift * u_x + lift * lift_x)
    start = np.abs(u[0] - lift[0] - data_at_points(model, initial, z[0])[:, 0])
    steepness = np.maximum(-u_x, 0).max(axis=1)

    def bound_from_samples(step: int) -> tuple[float, dict[str, float]]:
        mean = lambda f: np.trapezoid(f[..., ::step], x[::step], axis=-1) / 2
        from_residual = trapezoid(mean(source[::step]), t[::step])
        from_start, from_ends = mean(start), mean(np.abs(lift[::step]))
        value = float(np.max(from_ends + from_start + from_residual))
        return value, {
            "residual": from_residual[-1],
            "initial misfit": float(from_start),
            "boundary misfit": float(np.max(from_ends)),
            "growth factor": 1.0,
            "exponent of the energy bound in L2": float(trapezoid(steepness / 2, t)[-1]),
            "root mean square": float(np.sqrt(value * (1 + np.abs(u).max()))),
        }

    bounded = "|u| ≤ 1, by the maximum principle (part 'root mean square')"
    return bound_with_margin(model, NORM, bound_from_samples, (bounded,))
