"""The self-scaled Broyden stage: inverse Hessian, line search, descent, and the status after failures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import kdpinn_jax as kd
from kdpinn_jax.training.stages import ssbroyden

T = np.linspace(0, 1, 21)[:, None]
STAGE = kd.SSBroyden()
init, step = jax.jit(STAGE.init), jax.jit(STAGE.step)


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


@pytest.fixture(scope="module")
def start(decay):
    """An objective, initial parameters and fixed points."""
    target = kd.objective(decay)
    return (
        target,
        kd.init_params(decay, target.network, jax.random.key(0)),
        kd.sample(target, jax.random.key(1)),
    )


@pytest.fixture(scope="module")
def steps(start):
    """The first forty steps on fixed points, (s, y, the ``StageStep``) of each, with one trace."""
    target, params, points = start
    state = init(target, params, points)
    steps = []
    for _ in range(40):
        new = step(target, params, state, points)
        steps.append((flat(new.params) - flat(params), np.asarray(new.state.gradient - state.gradient), new))
        params, state = new.params, new.state
    assert init._cache_size() == step._cache_size() == 1
    return steps


def test_solves_the_equation(decay):
    """The points are redrawn twice, and H is kept."""
    stages = (kd.SSBroyden(150, sampling=kd.Sampling(every=50)),)
    model = kd.train_teacher(decay, jax.random.key(0), stages=stages)
    assert np.max(np.abs(np.asarray(model(T)) - np.exp(-T))) < 1e-4
    assert model.training[0].why() == "completed its 150 steps"


@pytest.mark.slow
def test_no_step_raises_the_loss(start, steps):
    losses = [float(kd.loss(*start)), *(float(new.loss) for _, _, new in steps)]
    assert np.all(np.diff(losses) < 0)
    assert losses[-1] < 1e-4 * losses[0]


def test_secant_equation(steps):
    """H y = s."""
    for s, y, new in steps:
        np.testing.assert_allclose(np.asarray(new.state.inverse) @ y, s, rtol=0, atol=1e-9 * np.linalg.norm(s))


def test_inverse_is_symmetric_and_positive_definite(steps):
    for _, _, new in steps:
        inverse = np.asarray(new.state.inverse)
        np.testing.assert_array_equal(inverse, inverse.T)
        assert np.linalg.eigvalsh(inverse)[0] > 0


def test_state_matches_the_parameters(start, steps):
    """The state carries value, gradient and direction from step to step; they equal freshly computed ones."""
    target, _, points = start
    for _, _, new in steps:
        (value, _), gradient = kd.loss_and_grad(target, new.params, points)
        state = new.state
        assert float(new.loss) == pytest.approx(float(value), rel=1e-12)
        np.testing.assert_allclose(state.gradient, flat(gradient), rtol=1e-9, atol=1e-14)
        newton = -np.asarray(state.inverse) @ flat(gradient)
        np.testing.assert_allclose(state.direction, newton, rtol=0, atol=1e-9 * np.linalg.norm(newton))


def test_renew_keeps_the_inverse(start, steps):
    target, _, _ = start
    new, fresh = steps[-1][2], kd.sample(target, jax.random.key(2))
    state = STAGE.renew(target, new.params, new.state, fresh)
    (value, _), gradient = kd.loss_and_grad(target, new.params, fresh)
    np.testing.assert_array_equal(state.inverse, new.state.inverse)
    assert float(state.value) == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(state.direction, -np.asarray(state.inverse) @ flat(gradient), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("size", [2, 5])
def test_a_quadratic_is_minimised_in_n_steps(size):
    """With exact line searches on ½ xᵀAx, the directions of Broyden's family are conjugate, however H is scaled."""
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    hessian = jnp.asarray(q @ np.diag(np.geomspace(1, 30, size)) @ q.T)
    x = jnp.arange(1.0, size + 1)
    state = ssbroyden._State(
        inverse=jnp.eye(size),
        value=jnp.zeros(()),
        term_losses={},
        gradient=hessian @ x,
        direction=-hessian @ x,
        decrease=jnp.zeros(()),
        fresh=jnp.asarray(True),
        failures=jnp.asarray(0),
    )
    update = jax.jit(ssbroyden._update)
    for _ in range(size):
        assert float(jnp.linalg.norm(x)) > 1e-2
        d, slope = state.direction, jnp.vdot(state.gradient, state.direction)
        length = -slope / (d @ hessian @ d)
        x = x + length * d
        end = ssbroyden._Trial(length, jnp.zeros(()), {}, jnp.zeros(()), hessian @ x)
        inverse, direction, updated = update(state, end, slope, jnp.asarray(True))
        assert updated
        state = state._replace(inverse=inverse, gradient=end.gradient, direction=direction, fresh=jnp.asarray(False))
    assert float(jnp.linalg.norm(x)) < 1e-9


@pytest.mark.parametrize("first", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize(
    "loss",
    [
        lambda a: (a - 2.0) ** 2,
        lambda a: jnp.cosh(a - 0.01),
        lambda a: -a / (a**2 + 2.0),  # Moré & Thuente (1994), eq. 5.1
        lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,  # eq. 5.2
        lambda a: -jnp.sqrt(a + 1e-3) + a - jnp.log(40.0 - a),  # not defined beyond 40
    ],
)
def test_line_search_satisfies_the_strong_wolfe_conditions(loss, first):
    def trial_at(length):
        slope = jax.grad(loss)(length)
        return ssbroyden._Trial(length, loss(length), {}, slope, slope[None])

    start = trial_at(jnp.asarray(0.0))
    end, satisfied = jax.jit(ssbroyden._line_search, static_argnums=0)(trial_at, start, jnp.asarray(first))
    assert bool(satisfied)
    assert float(end.value) <= float(start.value + 1e-4 * end.length * start.slope)
    assert abs(float(end.slope)) <= 0.9 * abs(float(start.slope))
    assert float(end.value) == pytest.approx(float(loss(end.length)), rel=1e-12)


def test_a_failed_line_search_returns_the_lowest_trial():
    """The loss falls without bound, faster and faster."""

    def trial_at(length):
        return ssbroyden._Trial(length, -length - length**2, {}, -1 - 2 * length, jnp.ones(1))

    end, satisfied = ssbroyden._line_search(trial_at, trial_at(jnp.asarray(0.0)), jnp.asarray(1.0))
    assert not bool(satisfied)
    assert float(end.length) == ssbroyden.EXPANSION ** (ssbroyden.TRIALS - 1)


def test_failed_line_searches(start, steps):
    """The first resets H to a multiple of the identity, from which the stage can recover; the second ends the stage."""
    target, _, points = start
    new = steps[-1][2]
    uphill = lambda state: state._replace(direction=state.gradient)
    once = step(target, new.params, uphill(new.state), points)
    np.testing.assert_array_equal(flat(once.params), flat(new.params))
    assert int(once.status) == kd.Status.RUNNING
    inverse = np.asarray(once.state.inverse)
    np.testing.assert_array_equal(inverse, inverse[0, 0] * np.eye(len(inverse)))
    assert inverse[0, 0] > 0
    recovered = step(target, once.params, once.state, points)
    assert float(recovered.loss) < float(once.loss)
    assert int(recovered.state.failures) == 0
    twice = step(target, once.params, uphill(once.state), points)
    assert int(twice.status) == kd.Status.LINE_SEARCH_FAILED
    assert float(twice.loss) == float(new.loss)
    assert int(STAGE.renew(target, once.params, once.state, points).failures) == 0


@pytest.mark.slow
def test_float32_solves_the_equation_until_the_line_search_fails(decay, float32):
    target = kd.objective(decay)
    params = kd.init_params(decay, target.network, jax.random.key(0))
    stages = (kd.SSBroyden(20000, sampling=kd.Sampling()),)
    result = kd.fit(target, params, jax.random.key(1), stages, record_every=100)
    report = result.stages[0]
    assert {leaf.dtype for leaf in jax.tree.leaves(result.params)} == {jnp.dtype("float32")}
    model = kd.Model(decay, target.network, result.params, target.coefficients)
    assert np.max(np.abs(np.asarray(model(T.astype(np.float32))) - np.exp(-T))) < 2e-3
    assert kd.Status(report.status) is kd.Status.LINE_SEARCH_FAILED
    assert report.steps < 20000
    assert "line search failed at step" in report.why()


@pytest.mark.slow
def test_vmap_equals_single_runs(decay, start):
    """Members with different parameters and points, whose line searches have different lengths."""
    target = start[0]
    member = lambda k: (kd.init_params(decay, target.network, jax.random.key(k)), kd.sample(target, jax.random.key(k)))
    alone = [(params, init(target, params, points), points) for params, points in map(member, range(3))]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    step_all = jax.jit(jax.vmap(STAGE.step, in_axes=(None, 0, 0, 0)))
    for _ in range(12):
        batch = step_all(target, *together)
        together = (batch.params, batch.state, together[2])
        for i, (params, state, points) in enumerate(alone):
            new = step(target, params, state, points)
            alone[i] = (new.params, new.state, points)
            assert float(batch.loss[i]) == pytest.approx(float(new.loss), rel=1e-8)
    for i, (params, state, _) in enumerate(alone):
        np.testing.assert_allclose(flat(jax.tree.map(lambda leaf, i=i: leaf[i], together[0])), flat(params), rtol=1e-6)
        np.testing.assert_allclose(together[1].inverse[i], state.inverse, rtol=1e-6, atol=1e-9)


def test_arguments_and_defaults():
    with pytest.raises(ValueError, match="SSBroyden: steps=0 must be at least 1"):
        kd.SSBroyden(0)
    assert kd.SSBroyden().sampling.every == 200
