"""compile_predict gives the model's numbers, compiled once for each number of points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd

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


def test_compiled_once_a_shape(heat, model):
    """Tracing runs the ansatz in Python; a call that is compiled already does not."""
    from dataclasses import replace

    traces = []

    def ansatz(net, z, c):
        traces.append(1)
        return net(z)

    predict = kd.compile_predict(replace(model, problem=replace(heat, ansatz=ansatz)))
    z = Z.astype(np.float32)
    for points in (z[:4], z[4:8], z[:1], z[1:2], z[:4]):
        predict(points)
    assert len(traces) == 2


def test_float32_session(heat, untrained, float32):
    model = untrained(heat, 7)
    np.testing.assert_array_equal(kd.compile_predict(model)(Z.astype(np.float32)), model(Z))
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
        with pytest.raises(ValueError, match=r"expected \(n, 2\) with the columns"):
            call(np.zeros(shape, np.float32))
