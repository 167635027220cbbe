"""compile_predict returns the model's values and derivatives for any number of points, from a few compiled sizes."""

from dataclasses import replace

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

import kdpinn_jax as kd
from kdpinn_jax.serving import xla
from kdpinn_jax.serving.predict import LARGEST, compiled_size

Z = np.random.default_rng(0).uniform(0, 1, (17, 2))


@pytest.fixture(scope="module")
def model(heat, untrained):
    return untrained(heat, 7)


def test_float64_equals_the_model(model):
    predict = kd.compile_predict(model, dtype=np.float64)
    u = predict(Z)
    assert u.dtype == np.float64
    assert u.shape == (17, 1)
    np.testing.assert_allclose(u, model(Z), rtol=1e-14, atol=1e-15)


def test_float32_equals_the_model_within_rounding(model):
    u = kd.compile_predict(model)(Z.astype(np.float32))
    assert u.dtype == np.float32
    scale = float(jnp.max(jnp.abs(model(Z))))
    assert float(jnp.max(jnp.abs(u - model(Z)))) < 100 * np.finfo(np.float32).eps * scale


@pytest.mark.slow
@pytest.mark.parametrize("name", ["burgers", "black_scholes", "taylor_green"])
def test_hard_conditions_and_coefficients_are_included(untrained, name):
    problem = kd.problems.ALL[name]
    model = untrained(problem, 1, kd.MLP((5,)))
    z = np.asarray(kd.box(problem.lower, problem.upper)(jax.random.key(0), 9))
    np.testing.assert_allclose(kd.compile_predict(model, dtype=jnp.float64)(z), model(z), rtol=1e-12, atol=1e-13)


def test_numpy_and_jax_points_give_the_same_values(model):
    predict = kd.compile_predict(model)
    z = Z.astype(np.float32)
    np.testing.assert_array_equal(predict(z), predict(jnp.asarray(z)))
    np.testing.assert_allclose(predict(z), predict(Z), rtol=1e-5, atol=1e-6)


def test_any_number_of_points(model):
    """Compiled sizes and sizes between them give the values of the model."""
    predict = kd.compile_predict(model, dtype=np.float64)
    z = np.random.default_rng(1).uniform(0, 1, (150, 2))
    exact = np.asarray(model(z))
    for n in (0, 1, 2, 3, 8, 63, 65, 150):
        u = predict(z[:n])
        assert isinstance(u, np.ndarray)
        assert u.shape == (n, 1)
        np.testing.assert_allclose(u, exact[:n], rtol=1e-13, atol=1e-14)


def test_large_batches_are_evaluated_in_chunks(model):
    predict = kd.compile_predict(model)
    z = np.random.default_rng(2).uniform(0, 1, (LARGEST + 5000, 2)).astype(np.float32)
    np.testing.assert_allclose(predict(z), model(z), rtol=1e-5, atol=1e-6)


@hypothesis.given(n=st.integers(1, LARGEST))
def test_compiled_sizes_add_at_most_an_eighth(n):
    size = compiled_size(n)
    assert n <= size <= max(n + n // 8, 2 * n if n < 64 else 0)
    assert compiled_size(size) == size
    assert size <= LARGEST


@pytest.fixture
def traced_sizes(monkeypatch):
    """The number of points of each program that XLA traces."""
    sizes = []
    run = xla.run
    monkeypatch.setattr(xla, "run", lambda program, z: sizes.append(len(z)) or run(program, z))
    return sizes


def test_few_sizes_are_compiled(model, traced_sizes):
    """Each size is traced by its first call only."""
    predict = kd.compile_predict(model)
    z = np.zeros((100, 2), np.float32)
    for n in (1, 1, 3, 4, 65, 66, 72, 3):
        predict(z[:n])
    assert traced_sizes == [1, 4, 72]


def test_expected_sizes_are_compiled_in_advance_and_exactly(model, traced_sizes):
    predict = kd.compile_predict(model, dtype=np.float64, sizes=(5, 17))
    assert traced_sizes == [5, 17]
    np.testing.assert_allclose(predict(Z), model(Z), rtol=1e-13, atol=1e-14)
    assert traced_sizes == [5, 17]
    with pytest.raises(ValueError, match=r"sizes=\(0,\) must be positive"):
        kd.compile_predict(model, sizes=(0,))


def test_within_jax_transformations(model):
    """It returns JAX arrays and is differentiable."""
    predict = kd.compile_predict(model, dtype=np.float64)
    np.testing.assert_allclose(jax.jit(predict)(Z), model(Z), rtol=1e-13, atol=1e-14)
    slope = jax.grad(lambda z: jnp.sum(jnp.asarray(predict(z))))(jnp.asarray(Z))
    np.testing.assert_allclose(slope, jax.grad(lambda z: jnp.sum(model(z)))(jnp.asarray(Z)), rtol=1e-11, atol=1e-12)


def test_an_ansatz_with_a_loop(heat, model):
    """Models that can be exported neither to C nor to ONNX are supported, with a warning that they are slower."""
    looped = replace(heat, ansatz=lambda net, z, c: jax.lax.fori_loop(0, 3, lambda i, u: u + net(z), jnp.zeros(1)))
    with pytest.warns(
        RuntimeWarning, match=r"jax.vmap, .* three times as long.*primitive '(scan|while)'.*test_predict.py"
    ) as caught:
        predict = kd.compile_predict(replace(model, problem=looped), dtype=np.float64)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    plain = kd.compile_predict(replace(model, problem=replace(heat, ansatz=None)), dtype=np.float64)
    np.testing.assert_allclose(predict(Z), 3 * plain(Z), rtol=1e-13)
    z = Z.copy()
    z[3, 1] = np.nan
    assert (np.isnan(predict(z)[:, 0]) == (np.arange(len(z)) == 3)).all()


@pytest.mark.parametrize("derivatives", [None, ("u", "u_t", "u_xx")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_gives_nan_in_its_row_alone(model, derivatives, dtype):
    predict = kd.compile_predict(model, dtype=dtype, derivatives=derivatives)
    z = Z.astype(dtype)
    expected = np.array(predict(z))
    z[2, 0] = z[5, 1] = np.nan
    expected[[2, 5]] = np.nan
    np.testing.assert_array_equal(predict(z), expected)
    np.testing.assert_array_equal(predict(z[2:3]), expected[2:3])


def test_nan_gives_nan_along_a_coordinate_that_the_field_ignores(heat, model):
    """Also for a constant, and for a coordinate that only a comparison reads."""
    steps = replace(heat, ansatz=lambda net, z, c: jnp.where(z[:1] > 0.5, 1.0, 2.0), enforced=())
    predict = kd.compile_predict(replace(model, problem=steps), dtype=np.float64, derivatives=("u", "u_x"))
    z = np.array([[0.7, 0.1], [np.nan, 0.1], [0.7, np.nan]])
    np.testing.assert_array_equal(predict(z), [[1, 0], [np.nan, np.nan], [np.nan, np.nan]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_agree_with_automatic_differentiation(model, dtype):
    names = ("u_x", "u", "u_tx", "u_xx", "u_xt", "u_t", "u_tt")
    computed = kd.compile_predict(model, dtype=dtype, derivatives=names)(Z.astype(dtype))
    assert computed.dtype == dtype
    z = jnp.asarray(Z.astype(dtype), np.float64)
    gradient, hessian = (jax.vmap(f)(z)[:, 0] for f in (jax.jacfwd(model.field), jax.hessian(model.field)))
    u, u_t, u_x = model(z)[:, 0], gradient[:, 0], gradient[:, 1]
    u_tt, u_tx, u_xx = hessian[:, 0, 0], hessian[:, 0, 1], hessian[:, 1, 1]
    expected = np.stack([u_x, u, u_tx, u_xx, u_tx, u_t, u_tt], axis=1)
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    np.testing.assert_allclose(computed, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.slow
def test_greeks_of_the_exact_price():
    """Δ and Γ, computed from a model that equals the exact Black–Scholes price, agree with the closed formulas."""
    problem = kd.problems.ALL["black_scholes"]
    price = problem.reference(dict(problem.coefficients))
    exact = replace(problem, ansatz=lambda net, z, c: price(z) + 0 * net(z), embed=None)
    network = kd.objective(exact, kd.MLP((3,))).network
    model = kd.Model(exact, network, kd.init_params(exact, network, jax.random.key(0)), dict(exact.coefficients))
    s, t = problem.axes.index("S"), problem.axes.index("t")
    z = np.array(kd.box(problem.lower, problem.upper)(jax.random.key(1), 50))
    z[:, t] = 0.5 * (problem.lower[t] + problem.upper[t])
    computed = kd.compile_predict(model, dtype=np.float64, derivatives=("V", "V_S", "V_SS"))(z)
    c = problem.coefficients
    time_to_expiry = problem.upper[t] - z[:, t]
    spread = c["sigma"] * np.sqrt(time_to_expiry)
    d1 = (np.log(z[:, s]) + (c["r"] + c["sigma"] ** 2 / 2) * time_to_expiry) / spread
    np.testing.assert_allclose(computed[:, 1], scipy.stats.norm.cdf(d1), atol=1e-10)
    np.testing.assert_allclose(computed[:, 2], scipy.stats.norm.pdf(d1) / (z[:, s] * spread), atol=1e-10)


@pytest.mark.parametrize("names", [("u_y",), ("w",), ("u_xxx",), ("u", "ux"), ("",)])
def test_unknown_derivatives_are_rejected(model, names):
    with pytest.raises(ValueError, match=r"is unknown to problem 'heat'.*u_xx"):
        kd.compile_predict(model, derivatives=names)


@pytest.mark.parametrize("names", ["u", ()])
def test_derivatives_must_be_a_tuple_of_names(model, names):
    with pytest.raises(ValueError, match="must be a tuple of names"):
        kd.compile_predict(model, derivatives=names)


def test_without_float64(heat, untrained, float32):
    model = untrained(heat, 7)
    np.testing.assert_allclose(kd.compile_predict(model)(Z.astype(np.float32)), model(Z), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="jax_enable_x64"):
        kd.compile_predict(model, dtype=np.float64)


def test_cast_changes_the_precision_of_a_copy(model):
    single = kd.cast(model, np.float32)
    assert single.dtype == np.float32
    assert kd.cast(single, np.float64).dtype == np.float64
    assert model.dtype == np.float64  # unchanged
    double = kd.cast(kd.cast(model, np.float64), np.float64)
    jax.tree.map(np.testing.assert_array_equal, double.params, model.params)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, jnp.bfloat16])
def test_other_precisions_are_rejected(model, dtype):
    with pytest.raises(ValueError, match="not supported; use float32 or float64"):
        kd.compile_predict(model, dtype=dtype)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (3, 3), (2, 2, 2)])
def test_points_of_another_shape_are_rejected(model, shape):
    for call in (model, kd.compile_predict(model)):
        with pytest.raises(ValueError, match=r"expected \(n, 2\) with columns"):
            call(np.zeros(shape, np.float32))
