"""Every operation of a traced program, as evaluated by each backend, agrees with JAX's own in float64."""

import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.serving import xla
from kdpinn_jax.serving.bench._python import with_jax, with_numpy, with_torch
from kdpinn_jax.serving.program import POINTWISE
from kdpinn_jax.serving.trace import trace

lax = jax.lax
#: An expression of x ∈ (−2, 2) and y ∈ (0.1, 0.9) for every operation of a program.
EXPRESSIONS = {
    "abs": lambda x, y: lax.abs(x),
    "acos": lambda x, y: lax.acos(y),
    "acosh": lambda x, y: lax.acosh(1 + y),
    "add": lambda x, y: x + y,
    "and": lambda x, y: jnp.where((x > 0) & (y > 0.5), x, y),
    "asin": lambda x, y: lax.asin(y),
    "asinh": lambda x, y: lax.asinh(x),
    "atan": lambda x, y: lax.atan(x),
    "atan2": lambda x, y: lax.atan2(x, y - 0.5),
    "atanh": lambda x, y: lax.atanh(y),
    "cbrt": lambda x, y: lax.cbrt(x),
    "ceil": lambda x, y: lax.ceil(x),
    "cos": lambda x, y: lax.cos(x),
    "cosh": lambda x, y: lax.cosh(x),
    "div": lambda x, y: x / y,
    "eq": lambda x, y: jnp.where(x == x * 1.5, x, y),
    "erf": lambda x, y: lax.erf(x),
    "erfc": lambda x, y: lax.erfc(x),
    "exp": lambda x, y: lax.exp(x),
    "exp2": lambda x, y: lax.exp2(x),
    "expm1": lambda x, y: lax.expm1(x) + lax.expm1(1e-4 * x),
    "floor": lambda x, y: lax.floor(x),
    "ge": lambda x, y: jnp.where(x >= y, x, y),
    "gt": lambda x, y: jnp.where(x > y, 2 * x, y),
    "le": lambda x, y: jnp.where(x <= y, x, y),
    "log": lambda x, y: lax.log(y),
    "log1p": lambda x, y: lax.log1p(y) + lax.log1p(1e-4 * y),
    "logistic": lambda x, y: lax.logistic(x),
    "lt": lambda x, y: jnp.where(x < y, 3 * x, y),
    "max": lambda x, y: lax.max(x, y),
    "min": lambda x, y: lax.min(x, y),
    "mul": lambda x, y: x * y,
    "ne": lambda x, y: jnp.where(x != y, x, y),
    "neg": lambda x, y: -x,
    "not": lambda x, y: jnp.where(~(x > y), x, 5 * y),
    "or": lambda x, y: jnp.where((x > 0) | (y > 0.5), x, y),
    "pow": lambda x, y: lax.pow(y, x),
    "rem": lambda x, y: lax.rem(3 * x, y),
    "rint": lambda x, y: jnp.rint(3 * x),
    "round": lambda x, y: lax.round(3 * x),
    "select_n": lambda x, y: lax.select_n(x > 1, y, x),
    "sign": lambda x, y: lax.sign(x),
    "sin": lambda x, y: lax.sin(x),
    "sinh": lambda x, y: lax.sinh(x),
    "sqrt": lambda x, y: lax.sqrt(y),
    "sub": lambda x, y: x - y,
    "tan": lambda x, y: lax.tan(y),
    "tanh": lambda x, y: lax.tanh(x),
    "xor": lambda x, y: jnp.where((x > 0) ^ (y > 0.5), x, y),
}
FIELDS = tuple(f"f{i}" for i in range(len(EXPRESSIONS)))


def all_expressions(z):
    """All expressions, each of numbers plus one of vectors with four lanes."""
    x, y = z[0], z[1]
    lanes = jnp.asarray([1.0, 0.5, 0.7, 0.9])
    return jnp.stack([f(x, y) + jnp.sum(f(lanes * x, lanes * y) * lanes) for f in EXPRESSIONS.values()])


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).uniform((-2, 0.1), (2, 0.9), (40, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def exact(points):
    return np.asarray(jax.jit(jax.vmap(all_expressions))(points.astype(np.float64)))


@pytest.fixture(scope="module")
def model(heat):
    problem = replace(
        heat, lower=(-2.0, 0.1), upper=(2.0, 0.9), fields=FIELDS, terms={}, weights={}, reference=None, enforced=(),
        headline=None, outputs=1, ansatz=lambda net, z, c: all_expressions(z),
    )  # fmt: skip
    network = kd.objective(problem, kd.MLP((3,))).network
    return kd.Model(problem, network, kd.init_params(problem, network, jax.random.key(0)), dict(heat.coefficients))


@pytest.fixture(scope="module")
def points_with_nan(points):
    """The points, with NaN in the first coordinate of one row, and in the second one of another."""
    z = points.copy()
    z[3, 0] = z[8, 1] = np.nan
    return z


def check_nan(values):
    """Every operation gives NaN for these two rows alone."""
    rows = np.isin(np.arange(len(values)), [3, 8])
    for name, computed in zip(EXPRESSIONS, np.asarray(values).T, strict=True):
        np.testing.assert_array_equal(np.isnan(computed), rows, err_msg=name)


def check(values, exact, tolerance=4e-6):
    for name, computed, expected in zip(EXPRESSIONS, np.asarray(values).T, exact.T, strict=True):
        np.testing.assert_allclose(computed, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def test_the_expressions_contain_every_operation():
    assert set(EXPRESSIONS) == set(POINTWISE)
    assert {node.operation for node in trace(all_expressions, 2).nodes} >= set(POINTWISE)


@pytest.mark.slow
def test_xla(points, exact, points_with_nan):
    program = trace(all_expressions, 2)
    run = jax.jit(lambda z: xla.run(program, z))
    check(run(points), exact)
    check(run(points.astype(np.float64)), exact, 1e-12)
    check_nan(run(points_with_nan))


def test_numpy(points, exact, points_with_nan):
    predict = with_numpy(trace(all_expressions, 2))
    check(predict(points), exact)
    check_nan(predict(points_with_nan))


@pytest.mark.slow
def test_jax_operation_by_operation(points, exact, points_with_nan):
    predict = with_jax(trace(all_expressions, 2))
    check(predict(jnp.asarray(points)), exact)
    check_nan(predict(jnp.asarray(points_with_nan)))


@pytest.mark.slow
def test_torch(points, exact, points_with_nan):
    torch = pytest.importorskip("torch")
    predict = with_torch(trace(all_expressions, 2))
    check(predict(torch.tensor(points)), exact)
    check_nan(predict(torch.tensor(points_with_nan)))


@pytest.mark.slow
def test_onnx(model, points, exact, points_with_nan, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    (path,) = kd.export_onnx(model, tmp_path)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    check(session.run(None, {"z": points})[0], exact)
    check_nan(session.run(None, {"z": points_with_nan})[0])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_c(model, points, exact, points_with_nan, tmp_path, dtype):
    pytest.importorskip("cffi")
    kd.export_c(model, tmp_path)
    compiled = kd.load_compiled(tmp_path, dtype=dtype)
    z = np.concatenate([points, points]).astype(dtype)  # a block, and a remainder point by point
    check(compiled(z), np.concatenate([exact, exact]), 4e-6 if dtype == np.float32 else 1e-12)
    check_nan(compiled(points_with_nan.astype(dtype)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_is_as_accurate_as_that_of_lax(dtype):
    """The rational function, and its derivative in terms of it, as they occur in traced programs."""
    x = np.linspace(-12, 12, 20_001)
    t = np.tanh(x)
    program = trace(lambda z: jnp.stack([lax.tanh(z[0]), 1 - lax.tanh(z[0]) ** 2]), 1)
    computed = np.asarray(jax.jit(lambda z: xla.run(program, z))(x[:, None].astype(dtype)))
    tolerance = 3e-7 if dtype == np.float32 else 1e-15
    rounding = np.abs(x.astype(dtype) - x) * (1 - t**2)  # the effect of rounding the argument
    assert np.all(np.abs(computed[:, 0] - t) <= tolerance + rounding)
    assert np.all(np.abs(computed[:, 1] - (1 - t**2)) <= 2 * tolerance + 2 * rounding)


def test_products_of_values_that_both_depend_on_the_point():
    """Inner and outer products, matrix products, and a quadratic form."""

    def field(z):
        square = jnp.outer(z, jnp.sin(z)) @ jnp.stack([z, 2 * z]).T
        return jnp.concatenate([jnp.dot(z, z)[None], square.ravel(), (z @ square)[:1]])

    z = np.random.default_rng(0).normal(size=(5, 2))
    program = trace(field, 2)
    np.testing.assert_allclose(xla.run(program, jnp.asarray(z)), jax.vmap(field)(jnp.asarray(z)), rtol=1e-12)
