"""A bound on the error of a model of the Taylor–Green vortex, by the energy method on divergence-free fields."""

import jax
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
from ...pde.problem import Problem
from ..taylor_green import PERIOD, start, taylor_green

#: The numbers of times, and of points along x and along y. The flow is analytic, so sums over a period converge like a
#: Fourier series.
TIMES, POINTS = 17, 48
#: The largest relative difference between opposite sides that can be the rounding of a periodic embedding.
PERIODIC = 1e-9

NORM = Norm(
    "largest over t of the root mean square over x, y of the velocity's |e|",
    samples=lambda problem: midpoints(problem, 17, 32),
    size=lambda e: float(np.sqrt(np.max(np.mean(e**2, axis=1)))),
)


def _velocity_and_residual(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    """û (2), ∇û (4: uₓ, u_y, vₓ, v_y) and the residual of the momentum equation (2)."""
    gradient = jax.jacfwd(u)(z)[:2, 1:]
    return jnp.concatenate([u(z)[:2], gradient.ravel(), problem.terms["residual"].residual(u, z, c)[:2]])


def bound(model: Model) -> ErrorEstimate:
    """A bound on max over t of the root mean square of |û − u|.

    u is the velocity of the incompressible flow of period 2π that starts as (−cos x sin y, sin x cos y).

    Let û = ũ + ∇φ with Δφ = div û, by a Fourier transform, so that ũ is divergence-free, and let P be the projection
    that removes gradients. With R the residual of the momentum equation of û, ũ solves the Navier–Stokes equations up
    to a gradient and

        R̃ = P[R − (∇φ·∇)û − (ũ·∇)∇φ].

    e = ũ − u is divergence-free, so that pressure and transport drop out of its energy,

        ½ d‖e‖²/dt = −∫ e·(∇ũ)e − ν‖∇e‖² + ∫ e·R̃,

    and with μ(t) the maximum over x and y of the largest eigenvalue of −½(∇ũ + ∇ũᵀ), √(a² + b²) for [a b; b −a],

        ‖e(t)‖ ≤ e^{∫₀ᵗ μ} ‖e(0)‖ + ∫₀ᵗ e^{∫ₛᵗ μ} ‖R̃(s)‖ ds,   ‖û − u‖² = ‖∇φ‖² + ‖e‖²   (orthogonal).

    Viscosity is neglected: it would reduce μ = 1 by at least ν = 0.01, but it does not damp an error of the mean
    velocity.

    Args:
        model: a model of ``taylor_green``.

    Returns:
        The bound.

    Raises:
        NoBound: another domain, other terms, or a velocity that is not periodic.
        ValueError: the model or its residual is not finite.

    Source: Serrin (1959), On the stability of viscous fluid motions, for the energy; Chorin (1968) for the projection.
    """
    problem = model.problem
    check_equation(problem, taylor_green)
    _check_periodic(model)
    scalar_coefficients(model)  # raises if a coefficient is an array
    t = np.linspace(0.0, 1.0, TIMES)
    x = PERIOD * np.arange(POINTS) / POINTS
    z = np.stack(np.meshgrid(t, x, x, indexing="ij"), axis=-1)
    samples, exact_start = at_points(model, _velocity_and_residual, z), data_at_points(model, start, z[0])

    def bound_from_samples(step: int) -> tuple[float, dict[str, float]]:
        values = samples[::step, ::step, ::step]
        u, gradient, residual = values[..., :2], values[..., 2:6].reshape(*values.shape[:-1], 2, 2), values[..., 6:]
        phi_gradient = u - without_gradient(u)
        phi_hessian = np.stack([_derivative(phi_gradient, axis) for axis in (1, 2)], axis=-1)  # (…, field, axis)
        free, free_gradient = u - phi_gradient, gradient - phi_hessian
        along = lambda direction, slopes: np.einsum("...j,...ij->...i", direction, slopes)
        source = without_gradient(residual - along(phi_gradient, gradient) - along(free, phi_hessian))
        stretch = (free_gradient[..., 0, 0] - free_gradient[..., 1, 1]) / 2
        shear = (free_gradient[..., 0, 1] + free_gradient[..., 1, 0]) / 2
        rms = lambda f: np.sqrt(np.mean(np.sum(f**2, axis=-1), axis=(1, 2)))
        times, misfit = t[::step], rms(free[:1] - exact_start[::step, ::step])[0]
        growth = np.exp(trapezoid(np.hypot(stretch, shear).max(axis=(1, 2)), times))
        from_residual = growth * trapezoid(rms(source) / growth, times)
        total = np.hypot(rms(phi_gradient), growth * misfit + from_residual)
        return float(total.max()), {
            "residual": float(from_residual[-1]),
            "initial misfit": float(misfit),
            "divergence": float(rms(phi_gradient).max()),
            "growth factor": float(growth[-1]),
        }

    resolved = f"{POINTS} points along x and along y resolve the velocity, so that its Fourier series is exact"
    return bound_with_margin(model, NORM, bound_from_samples, (resolved,))


def _check_periodic(model: Model) -> None:
    """Check that the velocity and its gradient agree on opposite sides.

    Raises:
        NoBound: they differ by more than rounding.
    """
    side = np.linspace(0.0, PERIOD, 16)
    t, s, w = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 4), side, [0.0, PERIOD], indexing="ij"))
    z = np.stack([np.stack([t, w, s], axis=-1), np.stack([t, s, w], axis=-1)]).reshape(2, 4, 16, 2, 3)
    values = at_points(model, _velocity_and_residual, z)[..., :6]
    misfit = np.abs(values[..., 0, :] - values[..., 1, :]).max()
    if misfit > PERIODIC * max(1.0, np.abs(values).max()):
        raise NoBound(f"the bound requires a periodic velocity; opposite sides differ by {misfit:.1e}")


def _wave_numbers(n: int) -> np.ndarray:
    k = np.fft.fftfreq(n, 1 / n)
    k[n // 2] = 0.0  # the highest mode has no odd derivative on an even grid
    return k


def without_gradient(f: np.ndarray) -> np.ndarray:
    """The divergence-free part of a periodic field (t, x, y, 2), including its mean: f̂ − k (k·f̂)/|k|²."""
    k = _wave_numbers(f.shape[1])
    k = np.stack(np.meshgrid(k, k, indexing="ij"), axis=-1)
    square = np.maximum(np.sum(k**2, axis=-1, keepdims=True), 1.0)
    modes = np.fft.fft2(f, axes=(1, 2))
    return np.fft.ifft2(modes - k * np.sum(k * modes, axis=-1, keepdims=True) / square, axes=(1, 2)).real


def _derivative(f: np.ndarray, axis: int) -> np.ndarray:
    k = _wave_numbers(f.shape[axis]).reshape([-1 if i == axis else 1 for i in range(f.ndim)])
    return np.fft.ifft(1j * k * np.fft.fft(f, axis=axis), axis=axis).real
