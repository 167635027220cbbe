"""The weights of conditions that have none: by the traces of their tangent kernels before training."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.training.balance import FACTOR, balanced, tangent_traces
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


def test_conditions_count_as_much_as_the_equation(objective, unchecked):
    """Each weight is the ratio of the traces, at least 1; named ones are kept, and so are those of data."""
    equal = replace(objective, weights=dict.fromkeys(objective.terms, 1.0))
    key_params, key_traces = jax.random.split(KEY)
    params = kd.init_params(objective.problem, objective.network, key_params)
    traces = tangent_traces(equal, params, key_traces)
    weights = balanced(equal, KEY).weights
    assert weights["residual"] == 1
    for name in ("initial", "boundary"):
        assert weights[name] == pytest.approx(max(1, float(FACTOR * traces["residual"] / traces[name])), rel=1e-3)
    assert balanced(objective, KEY, named=("initial", "boundary")).weights == objective.weights
    heavy = replace(equal, weights=equal.weights | {"residual": 1e4})
    weights = {name: float(weight) for name, weight in weights.items()}
    assert balanced(heavy, KEY, named=("initial",)).weights["boundary"] == pytest.approx(
        1e4 * weights["boundary"], rel=1e-3
    )
    data = kd.data(np.array([[0.5, 0.5]]), np.array([[0.3]]))
    with_data = kd.objective(objective.problem, kd.MLP((4,)), terms={"data": data})
    assert balanced(with_data, KEY).weights["data"] == 1


@pytest.mark.slow
def test_training_reports_the_weights_that_it_used(heat):
    """By default for conditions without a weight, and for all by request."""
    stages, unnamed = (kd.Adam(2),), replace(heat, weights={"boundary": 5.0})
    train = lambda key, problem=unnamed, **options: kd.train_teacher(
        problem, key, network=kd.MLP((6, 6)), stages=stages, **options
    )
    used = lambda model: {name: term.weight for name, term in model.training[-1].terms.items()}
    weights = used(train(KEY))
    assert weights["residual"] == 1
    assert weights["initial"] > 1
    assert weights["boundary"] == 5
    assert used(train(KEY, weights={"initial": 3.0})) == {"residual": 1, "initial": 3, "boundary": 5}
    assert used(train(KEY, heat, weights="balanced"))["boundary"] not in (1, 10)
    keys = jax.random.split(KEY, 2)
    batched, alone = jax.vmap(lambda key: train(key).params)(keys), train(keys[1]).params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-9), batched, alone)


def test_other_words_are_refused(heat, unchecked):
    with pytest.raises(ValueError, match=r"weights='even' must be numbers by term, such as .* or 'balanced'"):
        kd.train_teacher(heat, KEY, weights="even")
