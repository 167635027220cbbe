"""Numerical references: convergence, other methods, literature values, symmetries and conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kdpinn_jax.models.grids import grid
from kdpinn_jax.problems import _corner_flow
from kdpinn_jax.problems.references import allen_cahn as ac
from kdpinn_jax.problems.references import lid_driven_cavity as cavity

ALLEN_CAHN = {"diffusivity": 1e-4, "reaction": 5.0}
CAVITY = {"reynolds": 100.0}


def evaluate(field, z):
    """The field at points (n, d)."""
    return np.asarray(jax.jit(jax.vmap(field))(jnp.asarray(z)))


def relative(a, b):
    """The relative L2 distance of a from b."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.slow
def test_allen_cahn_two_grids_agree():
    z = grid((0.0, -1.0), (1.0, 1.0), 41)
    coarse, fine = evaluate(ac.allen_cahn(ALLEN_CAHN, ac.CELLS // 2), z), evaluate(ac.allen_cahn(ALLEN_CAHN), z)
    assert relative(coarse, fine) < 5e-9


@pytest.mark.slow
def test_allen_cahn_agrees_with_another_method():
    """The other method is second differences in space and LSODA in time, with a larger diffusivity that they resolve.

    Two grids are extrapolated, because the error of one is proportional to the square of its spacing.
    """
    coefficients = {"diffusivity": 1e-2, "reaction": 5.0}

    def by_differences(cells):
        x = np.linspace(0, 1, cells + 1)  # the solution is even and periodic: its slope is 0 at both ends

        def rate(_, u):
            padded = np.concatenate([u[1:2], u, u[-2:-1]])
            return 1e-2 * np.diff(padded, 2) * cells**2 + 5 * (u - u**3)

        start = x**2 * np.cos(np.pi * x)
        solution = solve_ivp(rate, (0, 0.5), start, "LSODA", rtol=1e-9, atol=1e-11, lband=1, uband=1)
        return solution.y[:, -1][:: cells // 100]

    coarse, fine = by_differences(200), by_differences(400)
    points = np.stack([np.full(101, 0.5), np.linspace(0, 1, 101)], axis=1)
    assert relative((4 * fine - coarse) / 3, evaluate(ac.allen_cahn(coefficients), points)[:, 0]) < 1e-5


@pytest.mark.slow
def test_allen_cahn_start_symmetry_and_period():
    field = ac.allen_cahn(ALLEN_CAHN)
    x = np.linspace(-1, 1, 51)
    start = evaluate(field, np.stack([np.zeros(51), x], axis=1))[:, 0]
    np.testing.assert_allclose(start, x**2 * np.cos(np.pi * x), atol=1e-12)
    z = np.stack([np.linspace(0.01, 1, 51), x], axis=1)
    np.testing.assert_allclose(evaluate(field, z), evaluate(field, z * [1, -1]), atol=1e-12)
    np.testing.assert_allclose(evaluate(field, z), evaluate(field, z + np.array([0, 2])), atol=1e-12)


def test_corner_flow_satisfies_its_conditions():
    """The conditions are the values of ψ and its normal derivative on the lid and on the wall."""
    r = np.linspace(0.01, 1, 20)
    zero = np.zeros_like(r)
    for inertia in (100.0, -100.0):
        lid, wall = _corner_flow.derivatives(r, zero, inertia), _corner_flow.derivatives(zero, r, inertia)
        np.testing.assert_allclose(_corner_flow.flow(r, zero, inertia).psi, 0, atol=1e-12)
        np.testing.assert_allclose(_corner_flow.flow(zero, r, inertia).psi, 0, atol=1e-11)
        np.testing.assert_allclose(lid.y, -1, atol=1e-11)
        np.testing.assert_allclose(wall.x, 0, atol=1e-11)


@pytest.mark.slow
def test_corner_flow_derivatives_agree_with_the_stream_function():
    x, y, inertia = jnp.array([0.3, 0.7]), jnp.array([0.4, 0.1]), 50.0

    def stream(x, y):
        return _corner_flow.flow(x, y, inertia, jnp).psi

    def laplacian(x, y):
        return jax.grad(jax.grad(stream, 0), 0)(x, y) + jax.grad(jax.grad(stream, 1), 1)(x, y)

    derivatives = _corner_flow.derivatives(np.asarray(x), np.asarray(y), inertia)
    np.testing.assert_allclose(derivatives.x, jax.vmap(jax.grad(stream, 0))(x, y), rtol=1e-10)
    np.testing.assert_allclose(derivatives.y, jax.vmap(jax.grad(stream, 1))(x, y), rtol=1e-10)
    np.testing.assert_allclose(derivatives.laplacian, jax.vmap(laplacian)(x, y), rtol=1e-10)


@pytest.mark.slow
def test_cavity_two_resolutions_agree():
    z = grid((0.0, 0.0), (1.0, 1.0), 101)
    coarse, fine = (evaluate(cavity.lid_driven_cavity(CAVITY, modes), z) for modes in (24, cavity.MODES))
    assert relative(coarse[:, :2], fine[:, :2]) < 1e-4
    finer = evaluate(cavity.lid_driven_cavity(CAVITY, 40), z)
    assert relative(fine[:, :2], finer[:, :2]) < 2e-5


@pytest.mark.slow
def test_cavity_against_the_literature():
    """The extrema on the centre lines agree with Botella & Peyret (1998), table 9.

    The tables of Ghia, Ghia & Shin agree within their own error: the converged solution differs from them by up to
    0.0051 in u and 0.0093 in v.
    """
    field, s = cavity.lid_driven_cavity(CAVITY), np.linspace(0, 1, 2001)
    half = np.full_like(s, 0.5)
    u, v = evaluate(field, np.stack([half, s], axis=1))[:, 0], evaluate(field, np.stack([s, half], axis=1))[:, 1]
    np.testing.assert_allclose([u.min(), v.max(), v.min()], [-0.2140424, 0.1795728, -0.2538030], atol=2e-6)
    y, ghia_u = cavity.GHIA_U.T
    x, ghia_v = cavity.GHIA_V.T
    assert np.abs(evaluate(field, np.stack([np.full_like(y, 0.5), y], axis=1))[:, 0] - ghia_u).max() < 0.006
    assert np.abs(evaluate(field, np.stack([x, np.full_like(x, 0.5)], axis=1))[:, 1] - ghia_v).max() < 0.010


@pytest.mark.slow
def test_cavity_walls_corners_and_outside():
    field, s = cavity.lid_driven_cavity(CAVITY), np.linspace(0.01, 0.99, 50)
    one, zero = np.ones_like(s), np.zeros_like(s)
    np.testing.assert_allclose(
        evaluate(field, np.stack([s, one], axis=1))[:, :2], np.stack([one, zero], axis=1), atol=1e-8
    )
    for wall in (np.stack([s, zero], axis=1), np.stack([zero, s], axis=1), np.stack([one, s], axis=1)):
        np.testing.assert_allclose(evaluate(field, wall)[:, :2], 0, atol=1e-8)
    corners = evaluate(field, [[0.0, 1.0], [1.0, 1.0]])
    assert np.isfinite(corners).all()
    np.testing.assert_allclose(corners[:, 0], 1, atol=1e-8)
    assert np.isnan(evaluate(field, [[1.1, 0.5], [0.5, -0.1]])).all()
