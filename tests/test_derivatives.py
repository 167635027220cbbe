"""Derivatives agree with calculus by hand and with jax.jacfwd and jax.hessian."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import kdpinn_jax as kd
from kdpinn_jax.pde.derivatives import MOST_UNROLLED

numbers = st.floats(-3, 3, width=32)
points = st.tuples(numbers, numbers).map(np.array)


def field(p, a, b):
    """u = (p₀ + p₁x + p₂y + p₃x² + p₄xy + p₅xy³, sin(ax + by))."""

    def u(z):
        x, y = z
        polynomial = p[0] + p[1] * x + p[2] * y + p[3] * x**2 + p[4] * x * y + p[5] * x * y**3
        return jnp.stack([polynomial, jnp.sin(a * x + b * y)])

    return u


@jax.jit
def by_library(z, p, a, b):
    u = field(p, a, b)
    return {
        "first": [kd.derivative(u, axis)(z) for axis in (0, 1)],
        "second": [kd.derivative(kd.derivative(u, axis), axis)(z) for axis in (0, 1)],
        "mixed": kd.derivative(kd.derivative(u, 0), 1)(z),
        "at once": [kd.two_derivatives(u, z, axis) for axis in (0, 1)],
        "laplacian": kd.laplacian(u, (0, 1))(z),
        "laplacian along y": kd.laplacian(u, (1,))(z),
        "divergence": kd.divergence(u, (0, 1))(z),
        "divergence, axes swapped": kd.divergence(u, (1, 0))(z),
    }


@given(points, st.lists(numbers, min_size=6, max_size=6).map(np.array), numbers, numbers)
def test_derivatives_of_a_polynomial_and_a_sine(z, p, a, b):
    x, y = z
    s, c = np.sin(a * x + b * y), np.cos(a * x + b * y)
    value = [p[0] + p[1] * x + p[2] * y + p[3] * x**2 + p[4] * x * y + p[5] * x * y**3, s]
    first = [[p[1] + 2 * p[3] * x + p[4] * y + p[5] * y**3, a * c], [p[2] + p[4] * x + 3 * p[5] * x * y**2, b * c]]
    second = [[2 * p[3], -(a**2) * s], [6 * p[5] * x * y, -(b**2) * s]]
    by_hand = {
        "first": first,
        "second": second,
        "mixed": [p[4] + 3 * p[5] * y**2, -a * b * s],
        "at once": [(value, first[axis], second[axis]) for axis in (0, 1)],
        "laplacian": np.add(*second),
        "laplacian along y": second[1],
        "divergence": [first[0][0] + first[1][1]],
        "divergence, axes swapped": [first[1][0] + first[0][1]],
    }
    computed = by_library(z, p, a, b)
    for name, expected in by_hand.items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-12, atol=1e-11, err_msg=name)


def network(dtype):
    """A random tanh network with three inputs and two outputs."""
    w1, w2 = (jax.random.normal(jax.random.key(i), shape, dtype) for i, shape in enumerate(((3, 5), (5, 2))))
    return lambda z: jnp.tanh(z @ w1) @ w2


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 2e-5), (jnp.float64, 1e-13)])
def test_derivatives_agree_with_jacobian_and_hessian(dtype, tolerance):
    u = network(dtype)

    @jax.jit
    def computed_and_expected(z):
        jacobian, hessian = jax.jacfwd(u)(z), jax.hessian(u)(z)
        computed = [kd.laplacian(u, (1, 2))(z), kd.divergence(u, (1, 2))(z)]
        expected = [hessian[:, 1, 1] + hessian[:, 2, 2], (jacobian[0, 1] + jacobian[1, 2])[None]]
        for axis in range(3):
            computed += [kd.derivative(u, axis)(z), *kd.two_derivatives(u, z, axis)]
            expected += [jacobian[:, axis], u(z), jacobian[:, axis], hessian[:, axis, axis]]
        return computed, expected

    for computed, expected in zip(*computed_and_expected(jnp.array([0.3, -0.7, 0.2], dtype)), strict=True):
        assert computed.dtype == dtype
        np.testing.assert_allclose(computed, expected, rtol=tolerance, atol=tolerance)


def test_reverse_mode_over_derivatives():
    """Training needs the gradient of derivatives: d/da of ∂²/∂x² sin(ax) = −2a sin(ax) − a²x cos(ax)."""
    x = jnp.array([0.4])
    slope = jax.grad(lambda a: kd.laplacian(lambda z: jnp.sin(a * z), (0,))(x)[0])(1.5)
    np.testing.assert_allclose(slope, -3 * np.sin(0.6) - 2.25 * 0.4 * np.cos(0.6), rtol=1e-13)


def test_two_derivatives_along_equals_two_derivatives_on_each_axis():
    u = lambda z: jnp.stack([jnp.sin(z[0] * z[1]) * z[2], jnp.exp(z[0] - z[2])])
    z = jnp.array([0.3, -0.7, 1.1])
    value, slopes, curvatures = kd.two_derivatives_along(u, z, (2, 0))
    for i, axis in enumerate((2, 0)):
        for row, expected in zip((value, slopes[i], curvatures[i]), kd.two_derivatives(u, z, axis), strict=True):
            np.testing.assert_allclose(row, expected, rtol=1e-14)


def test_laplacian_and_divergence_of_many_axes():
    """They are one batch there: Δ Σ aᵢ zᵢ³ = 6 Σ aᵢ zᵢ, and ∇·(aᵢ zᵢ²) = 2 Σ aᵢ zᵢ."""
    d = MOST_UNROLLED + 3
    a, z = np.arange(1.0, d + 1), np.linspace(-1, 2, d)
    axes = tuple(range(1, d))
    total = np.sum((a * z)[1:])
    laplacian = kd.laplacian(lambda z: jnp.stack([a @ z**3, z[0]]), axes)(jnp.asarray(z))
    np.testing.assert_allclose(laplacian, [6 * total, 0], rtol=1e-13)
    divergence = kd.divergence(lambda z: (a * z**2)[1:], axes)(jnp.asarray(z))
    np.testing.assert_allclose(divergence, [2 * total], rtol=1e-13)
