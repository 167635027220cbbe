"""Metrics of arrays and of models whose errors are known."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.evaluation import correction
from kdpinn_jax.models.grids import COARSE, GRID, domain_points, grid, low_discrepancy, reference_values
from kdpinn_jax.models.metrics import compute_errors
from kdpinn_jax.training.monitor import error_monitor
from kdpinn_jax.training.review import final_monitor


def exact(z):
    """The solution of the heat problem, in NumPy."""
    return np.exp(-0.1 * np.pi**2 * z[:, :1]) * np.sin(np.pi * z[:, 1:])


@pytest.fixture(scope="module")
def model(heat, untrained):
    return untrained(heat, 4)


def test_errors_by_hand(heat):
    u, truth = np.array([[1.0], [2.0], [5.0]]), np.array([[1.0], [4.0], [2.0]])
    errors = compute_errors(heat, u, truth)["u"]
    assert errors.rmse == pytest.approx(np.sqrt(13 / 3))
    assert errors.relative_l2 == pytest.approx(np.sqrt(13 / 21))
    assert errors.max_error == 3


def test_errors_of_a_vector():
    """The error of the velocity is a length: that of (3, 4) is 5. The pressure has an error of its own."""
    problem = kd.problems.ALL["taylor_green"]
    truth = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0]])
    errors = compute_errors(problem, truth + np.array([[3.0, 4.0, 1.0], [0.0, 0.0, 0.0]]), truth)
    assert next(iter(errors)) == "velocity"
    assert errors["velocity"] == pytest.approx((np.sqrt(12.5), 5 / np.sqrt(2), 5.0))
    assert errors["p"] == pytest.approx((np.sqrt(0.5), 1 / np.sqrt(8), 1.0))
    assert errors["v"].max_error == 4


def test_grid():
    z = grid((0.0, -1.0), (1.0, 3.0), 5)
    assert z.shape == (25, 2)
    np.testing.assert_array_equal(z[:6, 1], [-1, 0, 1, 2, 3, -1])
    np.testing.assert_array_equal(z[[0, 5, 24], 0], [0, 0.25, 1])


def test_the_exact_solution_has_no_error(model):
    metrics = kd.evaluate(model, predict=exact)
    assert metrics.quantity == "u"
    assert (metrics.rmse, metrics.relative_l2, metrics.max_error) == metrics.errors["u"]
    assert metrics.max_error < 1e-14
    assert set(metrics.extrapolation) == {"mild right", "hard right"}
    for errors in metrics.extrapolation.values():
        assert errors["u"].max_error < 1e-14


def test_a_known_error_is_measured(model):
    shifted = kd.evaluate(model, predict=lambda z: exact(z) + 0.25)
    z = grid((0, 0), (1, 1), GRID[2])
    assert shifted.rmse == pytest.approx(0.25, rel=1e-12)
    assert shifted.max_error == pytest.approx(0.25, rel=1e-12)
    assert shifted.relative_l2 == pytest.approx(0.25 * np.sqrt(len(z)) / np.linalg.norm(exact(z)), rel=1e-12)
    scaled = kd.evaluate(model, predict=lambda z: 1.1 * exact(z))
    assert scaled.relative_l2 == pytest.approx(0.1, rel=1e-12)


def test_the_model_itself_is_evaluated_by_default(model):
    z = grid((0, 0), (1, 1), GRID[2])
    metrics = kd.evaluate(model)
    assert metrics.rmse == pytest.approx(np.sqrt(np.mean((np.asarray(model(z)) - exact(z)) ** 2)), rel=1e-10)
    served = kd.evaluate(model, predict=kd.compile_predict(model))
    assert served.rmse == pytest.approx(metrics.rmse, rel=1e-5)


def test_extrapolation_is_to_the_right_of_the_domain(model):
    evaluated = []

    def predict(z):
        evaluated.append(np.asarray(z))
        return exact(z)

    kd.evaluate(model, predict=predict)
    corners = [(tuple(z.min(axis=0)), tuple(z.max(axis=0))) for z in evaluated]
    assert corners == [((0, 0), (1, 1)), ((0, 1), (1, 1.1)), ((0, 1), (1, 1.5))]


def test_the_reference_has_the_coefficients_of_the_model(model):
    other = replace(model, coefficients={"alpha": 0.2})
    exact_of_other = lambda z: np.exp(-0.2 * np.pi**2 * z[:, :1]) * np.sin(np.pi * z[:, 1:])
    assert kd.evaluate(other, predict=exact_of_other).max_error < 1e-14
    assert kd.evaluate(other, predict=exact).max_error > 0.1


def test_residual_norms(heat):
    """For u = t + x² + 1 the residual of the heat equation is 1 − 2α everywhere."""
    problem = replace(heat, ansatz=lambda net, z, c: 0 * net(z) + z[:1] + z[1:] ** 2 + 1)
    objective = kd.objective(problem)
    params = kd.init_params(problem, objective.network, jax.random.key(0))
    residuals = kd.evaluate(kd.Model(problem, objective.network, params, objective.coefficients)).residuals
    assert set(residuals) == {"residual", "initial", "boundary"}
    assert residuals["residual"] == pytest.approx(0.8, rel=1e-12)
    # The mean of (t + 1)² and (t + 2)², each on half of the points, over t ∈ [0, 1] is (7/3 + 19/3)/2.
    assert residuals["boundary"] == pytest.approx(np.sqrt(13 / 3), rel=1e-2)


@pytest.mark.slow
def test_residuals_of_terms_that_the_ansatz_satisfies(untrained):
    residuals = kd.evaluate(untrained(kd.problems.ALL["burgers"], 1, kd.MLP((3,)))).residuals
    assert set(residuals) == {"residual", "initial", "boundary"}
    assert residuals["initial"] < 1e-12
    assert residuals["boundary"] < 1e-12
    assert residuals["residual"] > 1e-3


def test_without_a_reference(model, heat):
    metrics = kd.evaluate(replace(model, problem=replace(heat, reference=None)))
    assert (metrics.quantity, metrics.errors, metrics.extrapolation) == ("", {}, {})
    assert set(metrics.residuals) == {"residual", "initial", "boundary"}
    assert metrics.as_dict()["fields"] == {}
    with pytest.raises(ValueError, match="no errors, because the problem has no reference"):
        _ = metrics.relative_l2
    with pytest.raises(ValueError, match="'heat' has no reference"):
        reference_values(replace(heat, reference=None), {"alpha": 0.1}, np.zeros((1, 2)))


def test_a_reference_that_is_nan_outside_the_domain(model, heat):
    """There are no extrapolation errors; the others are unchanged."""
    reference = lambda c: lambda z: jnp.where(z[1:] <= 1.0, heat.reference(c)(z), jnp.nan)
    metrics = kd.evaluate(replace(model, problem=replace(heat, reference=reference)), predict=exact)
    assert metrics.extrapolation == {}
    assert metrics.max_error < 1e-14


def in_disc(z):
    return (z[0] - 0.5) ** 2 + (z[1] - 0.5) ** 2 < 0.04


def test_a_domain_within_its_box(model, heat):
    """Only the points inside count, so that a reference that is infinite outside is no error."""
    reference = lambda c: lambda z: jnp.where(in_disc(z), heat.reference(c)(z), jnp.inf)
    disc = replace(model, problem=replace(heat, reference=reference, inside=in_disc))
    evaluated = []

    def predict(z):
        evaluated.append(np.asarray(z))
        return exact(z) + 0.25

    metrics = kd.evaluate(disc, predict=predict)
    assert metrics.rmse == pytest.approx(0.25, rel=1e-12)
    assert (metrics.extrapolation, metrics.excluded) == ({}, 0)
    (z,) = evaluated
    assert ((z - 0.5) ** 2).sum(axis=1).max() < 0.04
    assert len(z) == pytest.approx(0.04 * np.pi * GRID[2] ** 2, rel=0.05)
    monitor = error_monitor(kd.objective(disc.problem))
    assert np.isfinite(monitor(model.params))
    assert kd.true_error(disc, correction.NORM) < 10


def test_points_at_which_the_reference_is_not_finite_are_left_out(model, heat):
    pole = lambda c: lambda z: jnp.where(z[1:] > 0.895, jnp.nan, heat.reference(c)(z))
    metrics = kd.evaluate(replace(model, problem=replace(heat, reference=pole)), predict=lambda z: exact(z) + 0.25)
    assert metrics.excluded == 11 * 101  # x = 0.9, 0.91, … 1
    assert metrics.rmse == pytest.approx(0.25, rel=1e-12)
    assert kd.Metrics.from_dict(json.loads(json.dumps(metrics.as_dict()))) == metrics
    nowhere = replace(model, problem=replace(heat, reference=lambda c: lambda z: z[:1] * jnp.nan))
    with pytest.raises(ValueError, match="finite at none of 10201 points"):
        kd.evaluate(nowhere)
    with pytest.raises(ValueError, match="finite at none of 1024 points"):
        error_monitor(kd.objective(nowhere.problem))


@pytest.mark.slow
def test_a_small_domain_is_sampled_by_more_points(heat):
    small = replace(heat, inside=lambda z: (jnp.abs(z - 0.5105) < 0.004).all())  # between the points of the grid
    z, _ = domain_points(small)
    assert len(z) >= 20
    assert np.abs(z - 0.5105).max() < 0.004
    with pytest.raises(ValueError, match="inside holds at none of"):
        domain_points(replace(heat, inside=lambda z: z[0] > 2))


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (lambda z: z[:1] > 0, r"returns shape \(1,\) of bool"),
        (lambda z: z[0], "of float64"),
        (lambda z: z[0] > 0 and z[1] > 0, "cannot be traced"),
        (lambda t, x: t > 0, "fails at a point"),
        (lambda z: None, "of NoneType"),
    ],
)
def test_a_predicate_must_return_one_bool(heat, inside, message):
    with pytest.raises(ValueError, match=message) as caught:
        replace(heat, inside=inside)
    assert "\n" not in str(caught.value)


def test_many_dimensions(untrained):
    """The number of points does not grow with the dimension: the norm of Π (1 + aᵢ zᵢ) is that of its factors."""
    d = 40
    a = jnp.arange(1, d + 1) / d**2
    problem = kd.Problem(
        name="product",
        axes=tuple(f"x{i}" for i in range(d)),
        fields=("u",),
        lower=(0,) * d,
        upper=(1,) * d,
        terms={"residual": kd.Term(kd.box((0,) * d, (1,) * d), lambda u, z, c: kd.laplacian(u, tuple(range(d)))(z), 8)},
        reference=lambda c: lambda z: jnp.prod(1 + a * z, keepdims=True),
    )
    metrics = kd.evaluate(untrained(problem, 0, kd.MLP((3,))), predict=lambda z: np.zeros((len(z), 1)))
    assert metrics.rmse == pytest.approx(np.sqrt(np.prod(1 + a + a**2 / 3)), rel=1e-3)
    assert metrics.relative_l2 == pytest.approx(1.0)
    assert error_monitor(kd.objective(problem)) is not None


def test_the_relative_error_of_a_zero_reference_is_infinite(heat):
    zero, one = np.zeros((3, 1)), np.ones((3, 1))
    assert compute_errors(heat, one, zero)["u"].relative_l2 == np.inf
    assert compute_errors(heat, zero, zero)["u"].relative_l2 == 0


def test_the_reference_is_float64_if_jax_uses_float32(heat, untrained, float32):
    model = untrained(heat, 4)
    assert model.dtype == np.float32
    values = reference_values(heat, model.coefficients, np.array([[0.3, 0.6]]))
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, exact(np.array([[0.3, 0.6]])), rtol=1e-14)
    assert 0 < kd.evaluate(model).relative_l2 < 100


def test_monitor(model, heat):
    monitor = error_monitor(kd.objective(heat))
    z = low_discrepancy((0.0, 0.0), (1.0, 1.0), COARSE)
    expected = np.linalg.norm(np.asarray(model(z)) - exact(z)) / np.linalg.norm(exact(z))
    assert float(monitor(model.params)) == pytest.approx(expected, rel=1e-10)
    assert error_monitor(kd.objective(replace(heat, reference=None))) is None
    nowhere = replace(heat, reference=lambda c: lambda z: jnp.nan * z[:1])
    with pytest.raises(ValueError, match="the reference is finite at none of"):
        error_monitor(kd.objective(nowhere))
    assert final_monitor(kd.objective(nowhere)) is None
    half = replace(heat, reference=lambda c: lambda z: jnp.where(z[1:] < 0.5, heat.reference(c)(z), jnp.nan))
    assert 0 < float(error_monitor(kd.objective(half))(model.params)) < np.inf


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_coarse_points_are_even_and_have_no_common_planes(d):
    """The mean of sin² 20πx, whose zeros are the points of a grid, and of a product are those of the domain."""
    z = low_discrepancy((-1.0,) * d, (1.0,) * d, COARSE)
    assert z.shape == (COARSE, d)
    assert z.min() > -1
    assert z.max() < 1
    np.testing.assert_allclose(np.mean(np.sin(20 * np.pi * z) ** 2, axis=0), 0.5, atol=0.05)
    np.testing.assert_allclose(np.mean(np.prod(z**2, axis=1)), 3.0**-d, rtol=0.2)
    assert len(np.unique(z[:, 0].round(9))) == COARSE


def test_as_dict_survives_json(model):
    as_dict = kd.evaluate(model, predict=exact).as_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
