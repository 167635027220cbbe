"""FitzHugh–Nagumo: the reference has converged, another method agrees, a pulse runs round, and the problem is stiff."""

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
NUMBERS = dict(PROBLEM.coefficients)
#: Times between the stored ones, so that interpolation is tried as well.
Z = grid((0.0, 0.0), (fn.DURATION, 1.0), 61)


@pytest.fixture(scope="module")
def on():
    """Points (n, 2) -> (u, w) there, (n, 2), by the reference."""
    return jax.jit(jax.vmap(fn.fitzhugh_nagumo(NUMBERS)))


@pytest.fixture(scope="module")
def values(on):
    return np.asarray(on(Z))


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.slow
def test_two_resolutions_agree(values):
    """Fewer points and fewer steps at once."""
    other = jax.jit(jax.vmap(fn.fitzhugh_nagumo(NUMBERS, 2 * fn.POINTS // 3, fn.STEPS // 2)))(Z)
    assert relative(other, values) < 1e-8


def test_interpolation_in_time_is_as_good_as_the_solve():
    """Every other stored time from the rest, by the same polynomials: 2⁸ times the error of those in use."""
    modes = fn._solve(*NUMBERS.values(), fn.POINTS, fn.STEPS)
    known, asked = modes[::2], modes[1::2]
    i = np.arange(STENCIL)

    def between(middle, first, count):
        weights = [np.prod([(middle - j) / (k - j) for j in i if j != k]) for k in i]
        return sum(weight * known[first + k : first + k + count] for k, weight in zip(i, weights, strict=True))

    half = STENCIL // 2
    inner = between(half - 0.5, 0, len(known) - STENCIL + 1)
    assert relative(inner, asked[half - 1 : half - 1 + len(inner)]) < 1e-8
    # one-sided at the start, the worst place: one interval of a thousand
    assert relative(between(0.5, 0, 1), asked[:1]) / 2**STENCIL < 1e-8


@pytest.mark.slow
def test_another_method_agrees(on):
    """Fourth-order differences in space, an explicit Runge–Kutta method in time; to t = 0.4."""
    cells, end, numbers = 200, 0.4, NUMBERS
    x = np.arange(cells) / cells

    def rate(_, y):
        u, w = y.reshape(2, cells)
        curvature = sum(c * np.roll(u, k) for c, k in ((-1, 2), (16, 1), (-30, 0), (16, -1), (-1, -2))) * cells**2 / 12
        u_t = numbers["diffusivity"] * curvature + (u - u**3 / 3 - w) / numbers["epsilon"]
        return np.concatenate([u_t, u + numbers["beta"] - numbers["gamma"] * w])

    start = np.asarray(initial_value(jnp.asarray(x))).ravel()
    found = solve_ivp(rate, (0, end), start, "RK45", rtol=1e-8, atol=1e-9).y[:, -1].reshape(2, cells).T
    assert relative(found, on(np.stack([np.full(cells, end), x], axis=1))) < 2e-5


def test_front_and_back_pass_every_probe_ahead(on):
    """At x = 0.5 … 0.9 u rises from rest once and falls once, later the farther, and the medium recovers."""
    t = np.linspace(0, fn.DURATION, 281)
    passed = []
    for x in (0.5, 0.6, 0.7, 0.8):
        u = np.asarray(on(np.stack([t, np.full_like(t, x)], axis=1)))[:, 0]
        up, down = (t[np.flatnonzero(sign * np.diff(np.sign(u)) > 0)] for sign in (1, -1))
        assert len(up) == len(down) == 1
        assert u[0] < -0.9
        assert u.max() > 1.7
        assert u[-1] < -1.5
        passed.append((up[0], down[0]))
    assert np.all(np.diff(passed, axis=0) > 0.05)
    speed = 0.1 / np.diff(passed, axis=0)
    scale = np.sqrt(NUMBERS["diffusivity"] / NUMBERS["epsilon"])
    assert np.all((speed > 0.5 * scale) & (speed < 1.2 * scale))


def test_two_time_scales(values):
    """u changes 1/ε times as fast as w, to a factor; the eigenvalues of the linearised equations lie apart as far."""
    epsilon, gamma = NUMBERS["epsilon"], NUMBERS["gamma"]
    rates = np.abs(np.diff(values.reshape(61, 61, 2), axis=0)).max(axis=(0, 1)) / (fn.DURATION / 60)
    assert rates[0] > 0.3 / epsilon * rates[1]
    for wave, ratio in ((0, 1 / epsilon), (64, 100 / epsilon)):  # the reaction alone, and the waves the reference needs
        decay = NUMBERS["diffusivity"] * (2 * np.pi * wave) ** 2
        excited = np.array([[(1 - 2.0**2) / epsilon - decay, -1 / epsilon], [1, -gamma]])
        slow, fast = np.sort(np.abs(np.linalg.eigvals(excited)))
        assert fast / slow > ratio


def test_rest_is_nearly_at_rest():
    u, w = REST
    assert abs(u - u**3 / 3 - w) < 2e-3
    assert abs(u + NUMBERS["beta"] - NUMBERS["gamma"] * w) < 1e-12


def test_start_period_and_outside(on):
    x = np.linspace(0, 1, 41)
    z = np.stack([np.zeros(41), x], axis=1)
    np.testing.assert_allclose(on(z), np.asarray(initial_value(jnp.asarray(x))).T, atol=1e-12)
    z = np.stack([np.linspace(0, fn.DURATION, 41), x], axis=1)
    np.testing.assert_allclose(on(z), on(z + np.array([0, 1])), atol=1e-11)
    assert np.isfinite(on(z)).all()
    outside = np.stack([np.full(41, -0.01), x], axis=1), np.stack([np.full(41, fn.DURATION + 0.01), x], axis=1)
    assert all(np.isnan(on(z)).all() for z in outside)
