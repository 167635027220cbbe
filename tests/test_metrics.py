"""Errors of arrays and of models with known compute_errors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.models.grids import COARSE, GRID, grid, reference_values
from kdpinn_jax.models.metrics import compute_errors
from kdpinn_jax.training.monitor import error_monitor


def exact(z):
    """The solution of the tiny heat problem, in numpy."""
    return np.exp(-0.1 * np.pi**2 * z[:, :1]) * np.sin(np.pi * z[:, 1:])


@pytest.fixture(scope="module")
def model(heat, untrained):
    return untrained(heat, 4)


def test_errors_by_hand(heat):
    u, truth = np.array([[1.0], [2.0], [5.0]]), np.array([[1.0], [4.0], [2.0]])
    found = compute_errors(heat, u, truth)["u"]
    assert found.rmse == pytest.approx(np.sqrt(13 / 3))
    assert found.relative_l2 == pytest.approx(np.sqrt(13 / 21))
    assert found.max_error == 3


def test_errors_of_a_vector():
    """The velocity's error is a length: (3, 4) is off by 5; the pressure counts alone."""
    problem = kd.problems.ALL["taylor_green"]
    truth = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0]])
    found = compute_errors(problem, truth + np.array([[3.0, 4.0, 1.0], [0.0, 0.0, 0.0]]), truth)
    assert next(iter(found)) == "velocity"
    assert found["velocity"] == pytest.approx((np.sqrt(12.5), 5 / np.sqrt(2), 5.0))
    assert found["p"] == pytest.approx((np.sqrt(0.5), 1 / np.sqrt(8), 1.0))
    assert found["v"].max_error == 4


def test_grid():
    z = grid((0.0, -1.0), (1.0, 3.0), 5)
    assert z.shape == (25, 2)
    np.testing.assert_array_equal(z[:6, 1], [-1, 0, 1, 2, 3, -1])
    np.testing.assert_array_equal(z[[0, 5, 24], 0], [0, 0.25, 1])


def test_the_exact_solution_has_no_error(model):
    found = kd.evaluate(model, predict=exact)
    assert found.quantity == "u"
    assert (found.rmse, found.relative_l2, found.max_error) == found.errors["u"]
    assert found.max_error < 1e-14
    assert {name: e["u"].max_error < 1e-14 for name, e in found.extrapolation.items()} == {
        "mild right": True,
        "hard right": True,
    }


def test_a_known_error_is_found(model):
    off = kd.evaluate(model, predict=lambda z: exact(z) + 0.25)
    z = grid((0, 0), (1, 1), GRID[2])
    assert off.rmse == pytest.approx(0.25, rel=1e-12)
    assert off.max_error == pytest.approx(0.25, rel=1e-12)
    assert off.relative_l2 == pytest.approx(0.25 * np.sqrt(len(z)) / np.linalg.norm(exact(z)), rel=1e-12)
    tilted = kd.evaluate(model, predict=lambda z: 1.1 * exact(z))
    assert tilted.relative_l2 == pytest.approx(0.1, rel=1e-12)


def test_the_model_itself_is_judged(model):
    z = grid((0, 0), (1, 1), GRID[2])
    found = kd.evaluate(model)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((np.asarray(model(z)) - exact(z)) ** 2)), rel=1e-10)
    served = kd.evaluate(model, predict=kd.compile_predict(model))
    assert served.rmse == pytest.approx(found.rmse, rel=1e-5)


def test_extrapolation_lies_on_the_right(model):
    asked = []

    def predict(z):
        asked.append(np.asarray(z))
        return exact(z)

    kd.evaluate(model, predict=predict)
    corners = [(tuple(z.min(axis=0)), tuple(z.max(axis=0))) for z in asked]
    assert corners == [((0, 0), (1, 1)), ((0, 1), (1, 1.1)), ((0, 1), (1, 1.5))]


def test_coefficients_move_the_reference(model):
    other = replace(model, coefficients={"alpha": 0.2})
    right = lambda z: np.exp(-0.2 * np.pi**2 * z[:, :1]) * np.sin(np.pi * z[:, 1:])
    assert kd.evaluate(other, predict=right).max_error < 1e-14
    assert kd.evaluate(other, predict=exact).max_error > 0.1


def test_residual_norms(heat):
    """For u = t + x² + 1 the residual of the heat equation is 1 − 2α everywhere."""
    problem = replace(heat, ansatz=lambda net, z, c: 0 * net(z) + z[:1] + z[1:] ** 2 + 1)
    target = kd.objective(problem)
    params = kd.init_params(problem, target.network, jax.random.key(0))
    found = kd.evaluate(kd.Model(problem, target.network, params, target.coefficients)).residuals
    assert set(found) == {"residual", "initial", "boundary"}
    assert found["residual"] == pytest.approx(0.8, rel=1e-12)
    # (t + 1)² and (t + 2)², halves each, over t ∈ [0, 1]: (7/3 + 19/3)/2
    assert found["boundary"] == pytest.approx(np.sqrt(13 / 3), rel=1e-2)


@pytest.mark.slow
def test_residuals_of_terms_the_ansatz_satisfies(untrained):
    found = kd.evaluate(untrained(kd.problems.ALL["burgers"], 1, kd.MLP((3,)))).residuals
    assert set(found) == {"residual", "initial", "boundary"}
    assert found["initial"] < 1e-12
    assert found["boundary"] < 1e-12
    assert found["residual"] > 1e-3


def test_without_a_reference(model, heat):
    found = kd.evaluate(replace(model, problem=replace(heat, reference=None)))
    assert (found.quantity, found.errors, found.extrapolation) == ("", {}, {})
    assert set(found.residuals) == {"residual", "initial", "boundary"}
    assert found.as_dict()["fields"] == {}
    with pytest.raises(ValueError, match="'heat' has no reference"):
        reference_values(replace(heat, reference=None), {"alpha": 0.1}, np.zeros((1, 2)))


def test_a_reference_that_ends_with_the_domain(model, heat):
    """NaN beyond the domain: no extrapolation compute_errors, the others as ever."""
    ends = lambda c: lambda z: jnp.where(z[1:] <= 1.0, heat.reference(c)(z), jnp.nan)
    found = kd.evaluate(replace(model, problem=replace(heat, reference=ends)), predict=exact)
    assert found.extrapolation == {}
    assert found.max_error < 1e-14


def test_the_reference_is_in_float64_in_a_float32_session(heat, untrained, float32):
    single = untrained(heat, 4)
    assert single.dtype == np.float32
    values = reference_values(heat, single.coefficients, np.array([[0.3, 0.6]]))
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, exact(np.array([[0.3, 0.6]])), rtol=1e-14)
    assert 0 < kd.evaluate(single).relative_l2 < 100


def test_monitor(model, heat):
    target = kd.objective(heat)
    look = error_monitor(target)
    z = grid((0, 0), (1, 1), COARSE[2])
    want = np.linalg.norm(np.asarray(model(z)) - exact(z)) / np.linalg.norm(exact(z))
    assert float(look(model.params)) == pytest.approx(want, rel=1e-10)
    assert error_monitor(kd.objective(replace(heat, reference=None))) is None


def test_as_dict_is_plain(model):
    import json

    found = kd.evaluate(model, predict=exact)
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
