"""The residual of each condition is zero for a function that satisfies it, and correct for one that does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd

Z = jnp.array([0.3, 0.8])


def wave(z):
    """(sin 2πx, t + cos 2πx), with period 1 in x."""
    return jnp.stack([jnp.sin(2 * jnp.pi * z[1]), z[0] + jnp.cos(2 * jnp.pi * z[1])])


def test_dirichlet():
    value = lambda z, c: c["a"] * wave(z)
    np.testing.assert_allclose(kd.dirichlet(value)(wave, Z, {"a": 1.0}), [0, 0], atol=1e-15)
    np.testing.assert_allclose(kd.dirichlet(value)(wave, Z, {"a": 1.1}), -0.1 * wave(Z), rtol=1e-12)
    np.testing.assert_allclose(kd.dirichlet(0.25)(wave, Z, {}), wave(Z) - 0.25, rtol=1e-14)
    np.testing.assert_allclose(kd.dirichlet(0.25, fields=(1,))(wave, Z, {}), wave(Z)[1:] - 0.25, rtol=1e-14)


def test_neumann():
    slopes = 2 * np.pi * np.array([np.cos(1.6 * np.pi), -np.sin(1.6 * np.pi)])
    np.testing.assert_allclose(kd.neumann(0.0, axis=1)(wave, Z, {}), slopes, rtol=1e-13)
    np.testing.assert_allclose(kd.neumann(lambda z, c: jnp.array([0.0, 1.0]), axis=0)(wave, Z, {}), [0, 0], atol=1e-14)
    np.testing.assert_allclose(kd.neumann(1.0, (0,), axis=1)(wave, Z, {}), slopes[:1] - 1, rtol=1e-13)


def test_conditions_on_the_normal_derivative():
    """u = x² + 3y, on the unit circle: ∂u/∂n = 2x² + 3y."""
    z = np.array([0.6, 0.8])
    row, u = jnp.concatenate([z, z]), lambda z: jnp.stack([z[0] ** 2 + 3 * z[1], z[0]])
    slopes = np.array([2 * 0.36 + 2.4, 0.6])
    np.testing.assert_allclose(kd.neumann(0.5)(u, row, {}), slopes - 0.5, rtol=1e-14)
    exchange = kd.robin(lambda z, c: c["h"], 2.0, lambda z, c: 5 * z[:1], fields=(0,))
    np.testing.assert_allclose(exchange(u, row, {"h": 0.1}), [0.1 * (0.36 + 2.4) + 2 * slopes[0] - 3], rtol=1e-14)
    jump = kd.interface((0, 1), (2.0, lambda z, c: c["k"]), jump=1.0, flux=0.25)
    expected = [0.36 + 2.4 - 0.6 - 1, 2 * slopes[0] - 3 * slopes[1] - 0.25]
    np.testing.assert_allclose(jump(u, row, {"k": 3.0}), expected, rtol=1e-14)


@pytest.mark.slow
def test_a_problem_with_a_robin_condition_on_a_hole():
    """Δu = 0 between two circles, with ∂u/∂n = 0.5 (1 − u) on the inner one and u = 0 outside: u = a ln r."""
    ring = kd.geometry.disc((0, 0), 2, name="outer") - kd.geometry.disc((0, 0), 1, name="inner")
    slope = -1.0 / 2 / (1 + 0.5 * np.log(2))  # the outward normal of the ring points to the centre
    terms = {
        "residual": kd.Term(ring.interior(), lambda u, z, c: kd.laplacian(u, (0, 1))(z), count=300),
        "outer": kd.Term(ring.boundary("outer"), kd.dirichlet(0.0), count=60),
        "inner": kd.Term(ring.boundary("inner", normals=True), kd.robin(0.5, 1.0, 0.5, fields="u"), count=60),
    }
    weights = {"outer": 1.0, "inner": 1.0}
    problem = kd.Problem("ring", ("x", "y"), ("u",), ring.lower, ring.upper, terms, weights=weights, inside=ring)
    stages = (kd.LevenbergMarquardt(30, sampling=kd.Sampling(every=10)),)
    model = kd.train_teacher(problem, jax.random.key(0), network=kd.MLP((8, 8)), stages=stages)
    z = np.array(ring.interior()(jax.random.key(1), 500))
    exact = slope * np.log(np.linalg.norm(z, axis=1) / 2)
    assert np.linalg.norm(model(z)[:, 0] - exact) < 2e-2 * np.linalg.norm(exact)
    assert {name: np.isfinite(term.scale) for name, term in model.training[-1].terms.items()} == {
        "residual": False,
        "outer": True,
        "inner": True,
    }
    missing = terms | {"inner": kd.Term(ring.boundary("inner"), kd.neumann(0.0))}
    with pytest.raises(ValueError, match=r"term 'inner' needs the outward normal .* 2 columns instead of 4; sample it"):
        kd.train_teacher(kd.Problem("p", ("x", "y"), ("u",), ring.lower, ring.upper, missing), jax.random.key(0))
    with pytest.raises(ValueError, match=r"interface: fields=\('a',\) and conductivities=\(1.0,\) must be two each"):
        kd.interface(("a",), (1.0,))


def test_periodic_condition():
    for derivatives in (0, 1, 2):
        residual = kd.periodic_condition(1, 1.0, derivatives)(wave, Z, {})
        assert residual.shape == (2 * (derivatives + 1),)
        np.testing.assert_allclose(residual, 0, atol=1e-11)
    np.testing.assert_allclose(
        kd.periodic_condition(1, 0.5, 0)(wave, Z, {}), [2 * np.sin(1.6 * np.pi), 2 * np.cos(1.6 * np.pi)]
    )
    # The values, slopes and curvatures of x²(1 − x)² at 0 and 1 agree; its third derivatives, 24x − 12, do not.
    bump = lambda z: (z[1:] * (1 - z[1:])) ** 2
    residual = kd.periodic_condition(1, 1.0, 3)(bump, jnp.array([0.0, 0.0]), {})
    np.testing.assert_allclose(residual, [0, 0, 0, -24], atol=1e-12)


def test_data_at_all_rows():
    z = np.array([[0.0, 0.1], [0.5, 0.2], [1.0, 0.9]])
    values = np.asarray(jax.vmap(wave)(z))
    term = kd.data(z, values)
    assert term.count == 3
    rows = term.sample(jax.random.key(0), term.count)
    np.testing.assert_array_equal(rows, np.concatenate([z, values], axis=1))  # all rows in their order
    for row in rows:
        np.testing.assert_allclose(term.residual(wave, row, {}), 0, atol=1e-15)
    shifted = kd.data(z, values + 0.5)
    np.testing.assert_allclose(
        shifted.residual(wave, shifted.sample(jax.random.key(0), 3)[1], {}), [-0.5, -0.5], rtol=1e-12
    )


def test_data_at_random_rows():
    z, values = np.arange(5.0)[:, None], np.arange(5.0)[:, None] + 10
    few = np.asarray(kd.data(z, values, count=3).sample(jax.random.key(0), 3))
    assert few.shape == (3, 2)
    assert len(set(few[:, 0])) == 3  # without replacement
    np.testing.assert_array_equal(few[:, 1], few[:, 0] + 10)
    many = np.asarray(kd.data(z, values, count=40).sample(jax.random.key(0), 40))
    assert set(many[:, 0]) <= set(z[:, 0])
    np.testing.assert_array_equal(many[:, 1], many[:, 0] + 10)


@pytest.mark.parametrize(
    ("z", "values", "message"),
    [
        (np.zeros(3), np.zeros((3, 1)), r"z has shape \(3,\)"),
        (np.zeros((3, 2)), np.zeros(3), r"values \(3,\); expected \(N, d\) and \(N, k\)"),
        (np.zeros((3, 2)), np.zeros((4, 1)), r"\(3, 2\) and values \(4, 1\)"),
        (np.zeros((0, 2)), np.zeros((0, 1)), "N ≥ 1"),
        (np.array([[np.nan]]), np.zeros((1, 1)), "z contains NaN or infinity; remove those rows"),
        (np.zeros((1, 1)), np.array([[np.inf]]), "values contain infinity"),
    ],
)
def test_data_errors(z, values, message):
    with pytest.raises(ValueError, match=message):
        kd.data(z, values)
