"""Levenberg–Marquardt: Jacobian, linear algebra, steps, and accuracy on problems with known solutions."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import kdpinn_jax as kd
from kdpinn_jax.training.blocks import SHARED_BLOCK
from kdpinn_jax.training.points import draw_evenly, renew
from kdpinn_jax.training.residuals import residuals_and_weighted_jacobian, weighted_vector
from kdpinn_jax.training.stages._normal_equations import PANEL, factorise, gram, solve

KEY = jax.random.key(0)
FIXED = kd.Sampling()


@pytest.mark.slow
@pytest.mark.parametrize("count", [7, SHARED_BLOCK + 3])
def test_jacobian_and_residuals(heat, count):
    """The squared length of the vector is the loss, and its Jacobian equals forward-mode differentiation."""
    terms = {name: replace(term, count=count) for name, term in heat.terms.items()}
    target = kd.objective(heat, kd.MLP((4,)), terms=terms, weights={"initial": 3.0})
    params = kd.init_params(heat, target.network, KEY)
    sampling = kd.Sampling(every=1, adaptive=("residual",), unbiased=True)
    points = renew(target, sampling, params, jax.random.key(1), draw_evenly(target, sampling, KEY), jnp.asarray(1))
    vector, unravel = ravel_pytree(params)
    r, jacobian = residuals_and_weighted_jacobian(target, params, points)
    residual = weighted_vector(target, points, r)
    weighted_residuals = lambda v: weighted_vector(target, points, kd.residuals(target, unravel(v), points))
    np.testing.assert_allclose(residual, weighted_residuals(vector), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(jacobian, jax.jacfwd(weighted_residuals)(vector), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(jnp.sum(residual**2), kd.loss(target, params, points), rtol=1e-12)


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (PANEL + 9, PANEL + 5)])
def test_damped_step_is_the_least_squares_solution(shape):
    """Both forms minimise |Jx − v|² + λ xᵀDx, like a dense solver on the stacked system."""
    rng = np.random.default_rng(0)
    jacobian, v, scale = rng.normal(size=shape), rng.normal(size=shape[0]), rng.uniform(0.1, 10, shape[1])
    system = gram(jnp.asarray(jacobian), jnp.asarray(scale))
    assert system.is_kernel == (shape[0] < shape[1])
    for damping in (1e-6, 1.0):
        step = solve(system, factorise(system, jnp.asarray(damping)), jnp.asarray(v))
        stacked = np.concatenate([jacobian, np.diag(np.sqrt(damping * scale))])
        expected = np.linalg.lstsq(stacked, np.concatenate([v, np.zeros(shape[1])]), rcond=None)[0]
        np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-9)


def train(problem, key=KEY, network=None, stage=kd.LevenbergMarquardt(60, sampling=FIXED), **options):
    return kd.train_teacher(problem, key, network=network, stages=(stage,), progress=False, **options)


@pytest.mark.parametrize("width", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_reaches_a_known_solution(decay, width):
    """32 + 1 residuals: more than the 19 parameters of width 6, fewer than the 121 of width 40 (the kernel form)."""
    model = train(decay, network=kd.MLP((width,)))
    assert kd.evaluate(model).relative_l2 < 1e-6
    loss = model.training[0].history["loss"]
    assert np.all(np.diff(loss) <= 0)  # on fixed points no step raises the loss
    assert loss[-1] < 1e-10


@pytest.mark.slow
def test_needs_far_fewer_steps_than_adam(decay):
    second_order = train(decay, stage=kd.LevenbergMarquardt(20, sampling=FIXED))
    first_order = train(decay, stage=kd.Adam(400, 1e-2))
    assert kd.evaluate(second_order).relative_l2 < 0.01 * kd.evaluate(first_order).relative_l2


@pytest.mark.slow
def test_float32(decay, float32):
    model = train(decay, dtype="float32")
    assert model.dtype == jnp.float32
    assert kd.evaluate(model).relative_l2 < 1e-3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params))


@pytest.mark.slow
def test_a_failed_factorisation_raises_the_damping(decay, float32):
    """λ starts far below the rounding error of float32, is raised until the step is finite, and the loss falls."""
    stage = kd.LevenbergMarquardt(8, damping=1e-12, sampling=FIXED)
    model = train(decay, network=kd.MLP((8,)), stage=stage, dtype="float32")
    loss = model.training[0].history["loss"]
    assert np.isfinite(loss).all()
    assert loss[-1] < loss[0]


@pytest.mark.slow
def test_vmap_over_keys_dampings_and_weights(decay):
    keys, dampings, weights = jax.random.split(KEY, 2), jnp.array([1e-3, 1e-1]), jnp.array([1.0, 10.0])

    def run(key, damping, weight):
        stage = kd.LevenbergMarquardt(6, damping, sampling=kd.Sampling(every=3, adaptive=("residual",), unbiased=True))
        return train(decay, key, stage=stage, weights={"initial": weight})

    members = jax.vmap(run)(keys, dampings, weights)
    for i in range(2):
        alone = run(keys[i], float(dampings[i]), float(weights[i]))
        member = jax.tree.map(lambda leaf, i=i: leaf[i], members)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), member.params, alone.params)
        np.testing.assert_allclose(member.training[0].fresh_loss, alone.training[0].fresh_loss, rtol=1e-4)


def test_status_is_converged_at_zero_loss(decay):
    """Some steps satisfy one condition at one point to the last bit, and then no step lowers the loss."""
    model = train(decay, stage=kd.LevenbergMarquardt(200, sampling=FIXED), weights={"residual": 0.0})
    report = model.training[0]
    assert report.status == kd.Status.CONVERGED
    assert not report.failed
    assert report.steps < 100
    assert report.history["initial"][-1] < 1e-30


@pytest.mark.slow
def test_status_is_stalled_at_a_minimum(decay):
    """For u(0) = 1 and u(0) = 0 together the smallest loss is ½, and no step lowers it."""
    contradiction = kd.Term(kd.box((0,), (0,)), kd.dirichlet(0.0), count=1)
    model = train(
        decay,
        network=kd.MLP((2,)),
        weights={"residual": 0.0},
        terms={"contradiction": contradiction},
        stage=kd.LevenbergMarquardt(200, sampling=FIXED),
    )
    report = model.training[0]
    assert report.status == kd.Status.STALLED
    assert report.failed
    assert report.history["loss"][-1] == pytest.approx(0.5, abs=1e-9)
    assert report.why().startswith(f"stalled at step {report.steps} of 200: no step lowers the loss")


def test_arguments(unchecked):
    with pytest.raises(ValueError, match="LevenbergMarquardt: steps=0 must be at least 1"):
        kd.LevenbergMarquardt(0)
