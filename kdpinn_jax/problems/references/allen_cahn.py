"""The Allen–Cahn equation by a cosine series, an exponential integrator and Richardson extrapolation."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import Array
from jaxtyping import Float

from ...base.types import Field
from ..allen_cahn import T, X, initial_value, rounding
from ._etdrk4 import interpolated, march

#: Cells of the finer of two grids on [0, 1]. The kink of the initial value makes a cosine series converge like cells⁻²;
#: extrapolation from two grids leaves an error near 1e-9 (tests/test_references.py compares with half as many cells).
CELLS = 8192
#: Time steps to t = 1. Halving the step changes the solution by less than 1e-10: the error is due to the kink.
STEPS = 500
#: Steps between stored times: eight neighbours interpolate the smooth part to rounding error.
STRIDE = 2
#: Cosine modes of the solution without the evolution of the kink alone; they decay like mode⁻⁴.
MODES = 1024


def allen_cahn(coefficients: Mapping[str, Any], cells: int = CELLS) -> Field:
    """The solution of uₜ = D uₓₓ + r (u − u³), u(0, x) = x² cos πx, period 2 in x, z = (t, x) -> u, for t ∈ [0, 1].

    u = initial + rounding + Σₖ vₖ(t) cos kπx. The first two terms are known, so that the series represents a smoother
    function, for which few modes suffice. Between stored times vₖ is interpolated by polynomials of degree 7.

    The coefficients are ``diffusivity`` D and ``reaction`` r. The solution takes seconds and is cached. Its relative L2
    error is about 1e-9.
    Source: Cox & Matthews (2002) and Kassam & Trefethen (2005) for the integrator.
    """
    diffusivity = float(coefficients["diffusivity"])
    modes = _solve(diffusivity, float(coefficients["reaction"]), cells)

    def u(z: Float[Array, " 2"]) -> Float[Array, " 1"]:
        t, x = z[T], z[X]
        waves = jnp.cos(jnp.pi * x * jnp.arange(modes.shape[1], dtype=z.dtype))
        smooth = jnp.sum(interpolated(modes, t * (len(modes) - 1)) * waves)
        return (initial_value(x) + rounding(t, x, diffusivity) + smooth)[None]

    return u


@functools.lru_cache(maxsize=8)
def _solve(diffusivity: float, reaction: float, cells: int) -> np.ndarray:
    """vₖ at the stored times, (STEPS / STRIDE + 1, MODES), extrapolated from two grids."""
    coarse = _march(diffusivity, reaction, cells // 2)
    fine = _march(diffusivity, reaction, cells)[:, ::2]
    extrapolated = (4 * fine - coarse) / 3
    x = np.linspace(0, 1, cells // 2 + 1)
    with jax.enable_x64(True):
        times = jnp.linspace(0, 1, STEPS // STRIDE + 1)
        known = jax.vmap(lambda t: initial_value(jnp.asarray(x)) + rounding(t, jnp.asarray(x), diffusivity))(times)
    return _to_modes(extrapolated - np.asarray(known))[:, :MODES]


def _to_modes(values: np.ndarray) -> np.ndarray:
    """Coefficients of cos kπx from values at equally spaced points of [0, 1], ends included."""
    modes = np.asarray(scipy.fft.dct(values, type=1)) / (values.shape[-1] - 1)
    modes[..., [0, -1]] /= 2
    return modes


def _to_values(modes: np.ndarray) -> np.ndarray:
    doubled = modes.copy()
    doubled[..., [0, -1]] *= 2
    return np.asarray(scipy.fft.dct(doubled, type=1)) / 2


def _march(diffusivity: float, reaction: float, cells: int) -> np.ndarray:
    """Values at the stored times on ``cells`` + 1 points of [0, 1], by ETDRK4 with the diffusion integrated exactly."""
    x = np.linspace(0, 1, cells + 1)
    rates = -diffusivity * (np.pi * np.arange(cells + 1)) ** 2

    def force(modes: np.ndarray) -> np.ndarray:
        u = _to_values(modes)
        return _to_modes(reaction * (u - u**3))

    with jax.enable_x64(True):
        start = np.asarray(initial_value(jnp.asarray(x)))
    return _to_values(march(_to_modes(start), rates, force, 1 / STEPS, STEPS, STRIDE))
