"""FitzHugh–Nagumo: the reference has converged, another method agrees, the pulse travels, and the problem is stiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import kdpinn_jax as kd
from kdpinn_jax.models.grids import grid
from kdpinn_jax.problems.fitzhugh_nagumo import REST, initial_value
from kdpinn_jax.problems.references import fitzhugh_nagumo as fn
from kdpinn_jax.problems.references._etdrk4 import STENCIL

PROBLEM = kd.problems.ALL["fitzhugh_nagumo"]
COEFFICIENTS = dict(PROBLEM.coefficients)
#: The times are between the stored ones, so that the interpolation is tested as well.
Z = grid((0.0, 0.0), (fn.DURATION, 1.0), 61)


@pytest.fixture(scope="module")
def solution():
    """Points (n, 2) -> (u, w) of the reference, (n, 2)."""
    return jax.jit(jax.vmap(fn.fitzhugh_nagumo(COEFFICIENTS)))


@pytest.fixture(scope="module")
def values(solution):
    return np.asarray(solution(Z))


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.slow
def test_two_resolutions_agree(values):
    """The other resolution has fewer points and fewer steps."""
    other = jax.jit(jax.vmap(fn.fitzhugh_nagumo(COEFFICIENTS, 2 * fn.POINTS // 3, fn.STEPS // 2)))(Z)
    assert relative(other, values) < 1e-8


def test_interpolation_in_time_is_as_accurate_as_the_solution():
    """Every other stored time is interpolated from the rest: twice the spacing has 2⁸ times the error."""
    modes = fn._solve(*COEFFICIENTS.values(), fn.POINTS, fn.STEPS)
    known, omitted = modes[::2], modes[1::2]
    nodes = np.arange(STENCIL)

    def interpolate(middle, first, count):
        weights = [np.prod([(middle - j) / (k - j) for j in nodes if j != k]) for k in nodes]
        return sum(weight * known[first + k : first + k + count] for k, weight in zip(nodes, weights, strict=True))

    half = STENCIL // 2
    inner = interpolate(half - 0.5, 0, len(known) - STENCIL + 1)
    assert relative(inner, omitted[half - 1 : half - 1 + len(inner)]) < 1e-8
    # The one-sided interpolation at the start is the least accurate, but affects one interval of a thousand.
    assert relative(interpolate(0.5, 0, 1), omitted[:1]) / 2**STENCIL < 1e-8


@pytest.mark.slow
def test_another_method_agrees(solution):
    """The other method is fourth-order differences in space and an explicit Runge–Kutta method in time, to t = 0.4."""
    cells, end, c = 200, 0.4, COEFFICIENTS
    x = np.arange(cells) / cells
    stencil = ((-1, 2), (16, 1), (-30, 0), (16, -1), (-1, -2))

    def rate(_, y):
        u, w = y.reshape(2, cells)
        curvature = sum(weight * np.roll(u, k) for weight, k in stencil) * cells**2 / 12
        u_t = c["diffusivity"] * curvature + (u - u**3 / 3 - w) / c["epsilon"]
        return np.concatenate([u_t, u + c["beta"] - c["gamma"] * w])

    start = np.asarray(initial_value(jnp.asarray(x))).ravel()
    other = solve_ivp(rate, (0, end), start, "RK45", rtol=1e-8, atol=1e-9).y[:, -1].reshape(2, cells).T
    assert relative(other, solution(np.stack([np.full(cells, end), x], axis=1))) < 2e-5


def test_the_pulse_passes_every_position_ahead(solution):
    """At x = 0.5 … 0.8 u rises from rest once and falls once, later at larger x, and the medium recovers."""
    t = np.linspace(0, fn.DURATION, 281)
    times = []
    for x in (0.5, 0.6, 0.7, 0.8):
        u = np.asarray(solution(np.stack([t, np.full_like(t, x)], axis=1)))[:, 0]
        rises, falls = (t[np.flatnonzero(sign * np.diff(np.sign(u)) > 0)] for sign in (1, -1))
        assert len(rises) == len(falls) == 1
        assert u[0] < -0.9
        assert u.max() > 1.7
        assert u[-1] < -1.5
        times.append((rises[0], falls[0]))
    assert np.all(np.diff(times, axis=0) > 0.05)
    speed = 0.1 / np.diff(times, axis=0)
    scale = np.sqrt(COEFFICIENTS["diffusivity"] / COEFFICIENTS["epsilon"])
    assert np.all((speed > 0.5 * scale) & (speed < 1.2 * scale))


def test_two_time_scales(values):
    """u changes about 1/ε times as fast as w, and the eigenvalues of the linearised equations differ by that factor."""
    epsilon, gamma = COEFFICIENTS["epsilon"], COEFFICIENTS["gamma"]
    rates = np.abs(np.diff(values.reshape(61, 61, 2), axis=0)).max(axis=(0, 1)) / (fn.DURATION / 60)
    assert rates[0] > 0.3 / epsilon * rates[1]
    for wave, ratio in (
        (0, 1 / epsilon),
        (64, 100 / epsilon),
    ):  # the reaction alone, and the waves that the reference needs
        decay = COEFFICIENTS["diffusivity"] * (2 * np.pi * wave) ** 2
        jacobian = np.array([[(1 - 2.0**2) / epsilon - decay, -1 / epsilon], [1, -gamma]])
        slow, fast = np.sort(np.abs(np.linalg.eigvals(jacobian)))
        assert fast / slow > ratio


def test_the_rest_state_is_nearly_stationary():
    u, w = REST
    assert abs(u - u**3 / 3 - w) < 2e-3
    assert abs(u + COEFFICIENTS["beta"] - COEFFICIENTS["gamma"] * w) < 1e-12


def test_start_period_and_outside(solution):
    x = np.linspace(0, 1, 41)
    z = np.stack([np.zeros(41), x], axis=1)
    np.testing.assert_allclose(solution(z), np.asarray(initial_value(jnp.asarray(x))).T, atol=1e-12)
    z = np.stack([np.linspace(0, fn.DURATION, 41), x], axis=1)
    np.testing.assert_allclose(solution(z), solution(z + np.array([0, 1])), atol=1e-11)
    assert np.isfinite(solution(z)).all()
    outside = np.stack([np.full(41, -0.01), x], axis=1), np.stack([np.full(41, fn.DURATION + 0.01), x], axis=1)
    assert all(np.isnan(solution(z)).all() for z in outside)
