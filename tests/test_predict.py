"""compile_predict gives the model's numbers and derivatives for any number of points, from a few compiled sizes."""

from dataclasses import replace

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

import kdpinn_jax as kd
from kdpinn_jax.serving.predict import LARGEST, compiled_size

Z = np.random.default_rng(0).uniform(0, 1, (17, 2))


@pytest.fixture(scope="module")
def model(heat, untrained):
    return untrained(heat, 7)


def test_float64_is_the_model(model):
    predict = kd.compile_predict(model, dtype=np.float64)
    u = predict(Z)
    assert u.dtype == np.float64
    assert u.shape == (17, 1)
    np.testing.assert_allclose(u, model(Z), rtol=1e-14, atol=1e-15)


def test_float32_is_the_model_within_rounding(model):
    u = kd.compile_predict(model)(Z.astype(np.float32))
    assert u.dtype == np.float32
    scale = float(jnp.max(jnp.abs(model(Z))))
    assert float(jnp.max(jnp.abs(u - model(Z)))) < 100 * np.finfo(np.float32).eps * scale


@pytest.mark.slow
@pytest.mark.parametrize("name", ["burgers", "black_scholes", "taylor_green"])
def test_hard_conditions_and_coefficients_are_served(untrained, name):
    problem = kd.problems.ALL[name]
    model = untrained(problem, 1, kd.MLP((5,)))
    z = np.asarray(kd.box(problem.lower, problem.upper)(jax.random.key(0), 9))
    np.testing.assert_allclose(kd.compile_predict(model, dtype=jnp.float64)(z), model(z), rtol=1e-12, atol=1e-13)


def test_numpy_and_jax_points(model):
    predict = kd.compile_predict(model)
    z = Z.astype(np.float32)
    np.testing.assert_array_equal(predict(z), predict(jnp.asarray(z)))
    np.testing.assert_allclose(predict(z), predict(Z), rtol=1e-5, atol=1e-6)


def test_any_number_of_points(model):
    """Every size on the ladder and between; and the numbers are those of the same points one by one."""
    predict = kd.compile_predict(model, dtype=np.float64)
    z = np.random.default_rng(1).uniform(0, 1, (150, 2))
    exact = np.asarray(model(z))
    for n in (0, 1, 2, 3, 8, 63, 65, 150):
        u = predict(z[:n])
        assert isinstance(u, np.ndarray)
        assert u.shape == (n, 1)
        np.testing.assert_allclose(u, exact[:n], rtol=1e-13, atol=1e-14)


def test_many_points_in_blocks_and_turns(model):
    predict = kd.compile_predict(model)
    z = np.random.default_rng(2).uniform(0, 1, (LARGEST + 5000, 2)).astype(np.float32)
    np.testing.assert_allclose(predict(z), model(z), rtol=1e-5, atol=1e-6)


@hypothesis.given(n=st.integers(1, LARGEST))
def test_the_ladder(n):
    size = compiled_size(n)
    assert n <= size <= max(n + n // 8, 2 * n if n < 64 else 0)
    assert compiled_size(size) == size
    assert size <= LARGEST


def test_few_sizes_are_compiled(heat, model, monkeypatch):
    """Only the first call of a size reaches the function that XLA traces."""
    from kdpinn_jax.serving import xla as _on_xla

    traced = []
    run = _on_xla.run
    monkeypatch.setattr(_on_xla, "run", lambda program, z: traced.append(len(z)) or run(program, z))
    predict = kd.compile_predict(model)
    z = np.zeros((100, 2), np.float32)
    for n in (1, 1, 3, 4, 65, 66, 72, 3):
        predict(z[:n])
    assert traced == [1, 4, 72]


def test_sizes_named_before_are_compiled_at_once_and_exactly(model, monkeypatch):
    from kdpinn_jax.serving import xla as _on_xla

    traced = []
    run = _on_xla.run
    monkeypatch.setattr(_on_xla, "run", lambda program, z: traced.append(len(z)) or run(program, z))
    predict = kd.compile_predict(model, dtype=np.float64, sizes=(5, 17))
    assert traced == [5, 17]
    np.testing.assert_allclose(predict(Z), model(Z), rtol=1e-13, atol=1e-14)
    assert traced == [5, 17]
    with pytest.raises(ValueError, match=r"sizes=\(0,\) must be positive"):
        kd.compile_predict(model, sizes=(0,))


def test_inside_other_transformations(model):
    """A function that JAX traces gets JAX arrays, and its derivative."""
    predict = kd.compile_predict(model, dtype=np.float64)
    np.testing.assert_allclose(jax.jit(predict)(Z), model(Z), rtol=1e-13, atol=1e-14)
    slope = jax.grad(lambda z: jnp.sum(jnp.asarray(predict(z))))(jnp.asarray(Z))
    np.testing.assert_allclose(slope, jax.grad(lambda z: jnp.sum(model(z)))(jnp.asarray(Z)), rtol=1e-11, atol=1e-12)


def test_a_program_that_is_no_straight_line(heat, model):
    """What neither C nor ONNX can say is served all the same."""
    looped = replace(heat, ansatz=lambda net, z, c: jax.lax.fori_loop(0, 3, lambda i, u: u + net(z), jnp.zeros(1)))
    predict = kd.compile_predict(replace(model, problem=looped), dtype=np.float64)
    plain = kd.compile_predict(replace(model, problem=replace(heat, ansatz=None)), dtype=np.float64)
    np.testing.assert_allclose(predict(Z), 3 * plain(Z), rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives(model, dtype):
    names = ("u_x", "u", "u_tx", "u_xx", "u_xt", "u_t", "u_tt")
    found = kd.compile_predict(model, dtype=dtype, derivatives=names)(Z.astype(dtype))
    assert found.dtype == dtype
    z = jnp.asarray(Z.astype(dtype), np.float64)
    slopes, second = (jax.vmap(f)(z)[:, 0] for f in (jax.jacfwd(model.field), jax.hessian(model.field)))
    want = [slopes[:, 1], model(z)[:, 0], second[:, 0, 1], second[:, 1, 1], second[:, 0, 1], slopes[:, 0]]
    want = np.stack([*want, second[:, 0, 0]], axis=1)
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    np.testing.assert_allclose(found, want, rtol=tolerance, atol=tolerance * np.abs(want).max())


@pytest.mark.slow
def test_greeks():
    """Δ and Γ of the exact Black–Scholes price, from a model that is it."""
    problem = kd.problems.ALL["black_scholes"]
    price = problem.reference(dict(problem.coefficients))
    exact = replace(problem, ansatz=lambda net, z, c: price(z) + 0 * net(z), embed=None)
    network = kd.objective(exact, kd.MLP((3,))).network
    model = kd.Model(exact, network, kd.init_params(exact, network, jax.random.key(0)), dict(exact.coefficients))
    s, t = problem.axes.index("S"), problem.axes.index("t")
    z = np.array(kd.box(problem.lower, problem.upper)(jax.random.key(1), 50))
    z[:, t] = 0.5 * (problem.lower[t] + problem.upper[t])
    found = kd.compile_predict(model, dtype=np.float64, derivatives=("V", "V_S", "V_SS"))(z)
    c = problem.coefficients
    left = problem.upper[t] - z[:, t]
    spread = c["sigma"] * np.sqrt(left)
    d1 = (np.log(z[:, s]) + (c["r"] + c["sigma"] ** 2 / 2) * left) / spread
    np.testing.assert_allclose(found[:, 1], scipy.stats.norm.cdf(d1), atol=1e-10)
    np.testing.assert_allclose(found[:, 2], scipy.stats.norm.pdf(d1) / (z[:, s] * spread), atol=1e-10)


@pytest.mark.parametrize("names", [("u_y",), ("w",), ("u_xxx",), ("u", "ux"), ("",)])
def test_unknown_derivatives(model, names):
    with pytest.raises(ValueError, match=r"is unknown to problem 'heat'.*u_xx"):
        kd.compile_predict(model, derivatives=names)


@pytest.mark.parametrize("names", ["u", ()])
def test_derivatives_are_a_tuple(model, names):
    with pytest.raises(ValueError, match="must be a tuple of names"):
        kd.compile_predict(model, derivatives=names)


def test_float32_session(heat, untrained, float32):
    model = untrained(heat, 7)
    np.testing.assert_allclose(kd.compile_predict(model)(Z.astype(np.float32)), model(Z), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="jax_enable_x64"):
        kd.compile_predict(model, dtype=np.float64)


def test_cast(model):
    single = kd.cast(model, np.float32)
    assert single.dtype == np.float32
    assert kd.cast(single, np.float64).dtype == np.float64
    assert model.dtype == np.float64  # untouched
    back = kd.cast(kd.cast(model, np.float64), np.float64)
    jax.tree.map(np.testing.assert_array_equal, back.params, model.params)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, jnp.bfloat16])
def test_other_precisions(model, dtype):
    with pytest.raises(ValueError, match="not supported; use float32 or float64"):
        kd.compile_predict(model, dtype=dtype)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (3, 3), (2, 2, 2)])
def test_shape_errors(model, shape):
    for call in (model, kd.compile_predict(model)):
        with pytest.raises(ValueError, match=r"expected \(n, 2\) with columns"):
            call(np.zeros(shape, np.float32))
