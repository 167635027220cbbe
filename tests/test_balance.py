"""Balanced weights: every term has the same weighted trace of its tangent kernel before training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.training.balance import balanced, tangent_traces
from kdpinn_jax.training.points import sample
from kdpinn_jax.training.residuals import residuals

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def objective(heat):
    return kd.objective(heat, kd.MLP((6, 6)))


def test_traces_are_those_of_the_jacobian(objective):
    """The mean over points of |∂r/∂θ|², within the error of 32 random directions."""
    params = kd.init_params(objective.problem, objective.network, KEY)
    points = sample(objective, jax.random.split(jax.random.key(1))[0])
    jacobian = jax.jacrev(lambda params: residuals(objective, params, points))(params)
    traces = tangent_traces(objective, params, jax.random.key(1))
    for name, leaves in jacobian.items():
        squares = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(leaves))
        assert traces[name] == pytest.approx(squares / len(points.rows[name]), rel=0.5)


def test_the_weighted_traces_are_equal(objective):
    result = balanced(objective, KEY)
    key_params, key_traces = jax.random.split(KEY)
    params = kd.init_params(objective.problem, objective.network, key_params)
    traces = tangent_traces(objective, params, key_traces)
    products = np.array([float(result.weights[name] * traces[name]) for name in traces])
    np.testing.assert_allclose(products, products[0], rtol=1e-6)
    assert min(map(float, result.weights.values())) == pytest.approx(1)
    # The weights of the problem do not matter.
    assert result.weights["residual"] == pytest.approx(1)


@pytest.mark.slow
def test_training_reports_the_weights_that_it_used(heat):
    stages = (kd.Adam(2),)
    teacher = kd.train_teacher(heat, KEY, network=kd.MLP((6, 6)), stages=stages, weights="balanced")
    weights = {name: term.weight for name, term in teacher.training[-1].terms.items()}
    assert weights["residual"] == pytest.approx(1)
    assert weights["initial"] > 1
    student = kd.distill(teacher, KEY, network=kd.MLP((4,)), stages=stages, imitate=stages, weights="balanced")
    assert min(term.weight for term in student.training[-1].terms.values()) == pytest.approx(1)
    keys = jax.random.split(KEY, 2)
    train = lambda key: kd.train_teacher(heat, key, network=kd.MLP((4,)), stages=stages, weights="balanced").params
    batched = jax.vmap(train)(keys)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-9), batched, train(keys[1]))


def test_other_words_are_refused(heat, unchecked):
    with pytest.raises(ValueError, match=r"weights='even' must be numbers by term, such as .* or 'balanced'"):
        kd.train_teacher(heat, KEY, weights="even")
