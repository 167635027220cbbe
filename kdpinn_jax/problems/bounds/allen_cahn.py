"""A bound on the error of a model of the Allen–Cahn equation, by comparison with a larger solution."""

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
    value_and_residual,
)
from ...models.model import Model
from ...pde.derivatives import derivative
from ...pde.problem import Problem
from ..allen_cahn import T, X, allen_cahn, initial

#: The numbers of times t = q², with q evenly spaced, and of points in x. The times concentrate at 0, because the
#: residual of a kink that evolves wrongly behaves like t^(−½). A wall is √(2D/r) wide, 0.0063, or three of 1024 points.
TIMES, POINTS = 101, 1024
#: Steps of the comparison solution between two of these times.
SUBSTEPS = 10
#: The first time. The initial value has a kink at t = 0 only; at this time it is smooth and otherwise unchanged.
FIRST = 1e-9

NORM = Norm(
    "largest over t of the root mean square over x of |e|",
    samples=lambda problem: midpoints(problem, 41, 801),
    size=lambda e: float(np.sqrt(np.max(np.mean(e**2, axis=1)))),
)


def _value_and_slopes(problem: Problem, u: Field, z: Array, c: Coefficients) -> Array:
    """û, ûₓ, ûₜ and ûₓₜ."""
    u_x = derivative(u, X)
    return jnp.concatenate([u(z), u_x(z), derivative(u, T)(z), derivative(u_x, T)(z)])


def bound(model: Model) -> ErrorEstimate:
    """A bound on max over t of √(½∫(û − u)² dx), where uₜ = D uₓₓ + r (u − u³) with period 2.

    Let ℓ(t, x) = −½ j₀ x − ¼ j₁ (x² − ⅓), where j₀ and j₁ are the jumps of û and ûₓ from x = 1 to x = −1 (zero if the
    embedding is periodic), so that v = û − ℓ and vₓ are periodic. The residual of v is

        R = residual of û − ℓₜ + D ℓₓₓ + r ℓ − r (û³ − v³).

    Then e = v − u solves eₜ = D eₓₓ + r (1 − 3v² + 3v e − e²) e + R, and |e| is a subsolution (Kato's inequality) of

        wₜ = D wₓₓ + r (1 − 3v² + 3|v| m − m²) w + |R|,   m = min(w, 3|v|/2),   w(0) = |e(0)|.

    Here 3|v| m − m² is the largest value of 3v e − e² for |e| ≤ w, at most 9v²/4. Hence |e| ≤ w everywhere (comparison
    principle: Protter & Weinberger 1967, ch. 3, theorem 12), and |û − u| ≤ |ℓ| + w. Since |u| ≤ 1, also |e| ≤ 1 + |v|,
    so w is limited to 1 + |v|.

    An energy estimate grows at the rate of the largest eigenvalue of D ∂ₓₓ + r (1 − 3v²), which is near 0 once there
    are walls, because nothing damps their shifts. In addition, w includes the decay of errors on the plateaus at the
    rate −2r. The maximum norm alone would grow like eʳᵗ, because v = 0 within every wall. w is computed numerically:
    the diffusion by an implicit step on a periodic grid, whose inverse is positive, and the reaction by its
    exponential.

    Args:
        model: a model of ``allen_cahn``.

    Returns:
        The bound.

    Raises:
        NoBound: another domain, other terms, or a negative coefficient.
        ValueError: the model or its residual is not finite.
    """
    check_equation(model.problem, allen_cahn)
    c = scalar_coefficients(model)
    diffusivity, reaction = c["diffusivity"], c["reaction"]
    if diffusivity < 0 or reaction < 0:
        raise NoBound(f"the bound requires diffusivity and reaction of at least 0, not {diffusivity} and {reaction}")
    t = np.maximum(np.linspace(0.0, 1.0, TIMES) ** 2, FIRST)
    x = np.linspace(-1.0, 1.0, POINTS, endpoint=False)
    z = np.stack(np.meshgrid(t, x, indexing="ij"), axis=-1)
    u, residual = np.moveaxis(at_points(model, value_and_residual, z), -1, 0)
    ends = at_points(model, _value_and_slopes, np.stack(np.meshgrid([-1.0, 1.0], t, indexing="ij")[::-1], axis=-1))
    jump = (ends[0] - ends[1])[:, :, None]  # of û, ûₓ, ûₜ and ûₓₜ
    lift, lift_t = (-jump[:, i] * x / 2 - jump[:, i + 1] * (x**2 - 1 / 3) / 4 for i in (0, 2))
    v = u - lift
    source = np.abs(residual - lift_t - diffusivity * jump[:, 1] / 2 + reaction * (lift - u**3 + v**3))
    start = np.abs(v[0] - data_at_points(model, initial, z[0])[:, 0])

    def bound_from_samples(step: int) -> tuple[float, dict[str, float]]:
        w = _larger_solution(
            np.abs(v)[::step, ::step], source[::step, ::step], start[::step], t[::step], diffusivity, reaction
        )
        total = np.abs(lift)[::step, ::step] + w
        rms = lambda f: np.sqrt(np.mean(f**2, axis=-1))
        unamplified = float(rms(start) + np.trapezoid(rms(source), t))
        return float(rms(total).max()), {
            "residual": float(np.trapezoid(rms(source), t)),
            "initial misfit": float(rms(start)),
            "periodic misfit": float(rms(lift).max()),
            "growth factor": float(rms(w).max() / max(unamplified, np.finfo(float).tiny)),
            "maximum": float(total.max()),
        }

    bounded = "|u| ≤ 1, by the maximum principle"
    computed = f"the comparison solution is computed on {POINTS} points in {SUBSTEPS * (TIMES - 1)} steps"
    return bound_with_margin(model, NORM, bound_from_samples, (bounded, computed))


def _larger_solution(
    v: np.ndarray, source: np.ndarray, start: np.ndarray, t: np.ndarray, diffusivity: float, reaction: float
) -> np.ndarray:
    """w at the times, (t, x), from |v| and |R|, which are interpolated linearly in time."""
    cells = v.shape[1]
    # The eigenvalues of Δ on a periodic grid with spacing 2/cells, for the discrete Fourier transform.
    laplacian = -((cells * np.sin(np.pi * np.arange(cells // 2 + 1) / cells)) ** 2)
    w, stored = np.minimum(start, 1 + v[0]), []
    for i in range(len(t)):
        if i:
            dt = (t[i] - t[i - 1]) / SUBSTEPS
            heat = 1 / (1 - dt * diffusivity * laplacian)
            for k in range(SUBSTEPS):
                fraction = (k + 0.5) / SUBSTEPS
                level = (1 - fraction) * v[i - 1] + fraction * v[i]
                force = (1 - fraction) * source[i - 1] + fraction * source[i]
                m = np.minimum(w, 1.5 * level)
                rate = reaction * (1 - 3 * level**2 + (3 * level - m) * m)
                w = np.fft.irfft(heat * np.fft.rfft(np.exp(dt * rate) * w + dt * force), cells)
                w = np.clip(w, 0.0, 1 + level)
        stored.append(w)
    return np.stack(stored)
