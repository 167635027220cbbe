"""Trainings under vmap: each member has the results of a separate training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd

KEYS = jax.random.split(jax.random.key(0), 3)
T = np.linspace(0, 1, 9)[:, None]


def assert_same(members, i, alone, rtol=1e-7):
    """Member i of a batch of models equals the model trained alone, up to rounding that a few steps amplify."""
    member = jax.tree.map(lambda leaf: leaf[i], members.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-10), member, alone.params)
    for report, expected in zip(members.training, alone.training, strict=True):
        assert report.stage == expected.stage
        assert int(report.steps[i]) == expected.steps
        assert int(report.status[i]) == expected.status
        for name, values in expected.history.items():
            np.testing.assert_allclose(report.history[name][i][: len(values)], values, rtol=1e-5, atol=1e-12)


@pytest.fixture(scope="module")
def train(decay):
    """(key, rate, k, weight) -> a teacher after a few Adam steps."""

    def train(key, rate=1e-2, k=1.0, weight=1.0):
        return kd.train_teacher(
            decay, key, stages=(kd.Adam(25, rate),), coefficients={"k": k}, weights={"initial": weight}
        )

    return train


@pytest.mark.slow
def test_keys_rates_coefficients_and_weights(train):
    rates, ks, weights = jnp.array([1e-3, 1e-2, 5e-2]), jnp.array([0.5, 1.0, 2.0]), jnp.array([1.0, 0.0, 10.0])
    members = jax.vmap(train)(KEYS, rates, ks, weights)
    np.testing.assert_array_equal(members.coefficients["k"], ks)
    assert np.all(np.isnan(members.training[0].seconds))
    for i in range(3):
        assert_same(members, i, train(KEYS[i], float(rates[i]), float(ks[i]), float(weights[i])))
    values = jax.vmap(lambda model: model(T))(members)
    np.testing.assert_allclose(values[1], train(KEYS[1], 1e-2, 1.0, 0.0)(T), rtol=1e-6)


@pytest.mark.slow
def test_jit_of_vmap(train):
    members = jax.jit(jax.vmap(train))(KEYS)
    for i in range(3):
        assert_same(members, i, train(KEYS[i]))


@pytest.mark.slow
def test_a_non_finite_member_stops_alone(train):
    rates = jnp.array([1e-2, 1e300, 1e-2])
    members = jax.vmap(train)(KEYS, rates, jnp.ones(3), jnp.ones(3))
    statuses = [kd.Status(int(status)) for status in members.training[0].status]
    assert statuses == [kd.Status.COMPLETED, kd.Status.NON_FINITE, kd.Status.COMPLETED]
    assert int(members.training[0].steps[1]) < 25
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(members.params))
    for i in range(3):
        assert_same(members, i, train(KEYS[i], float(rates[i])))
    non_finite = jax.tree.map(lambda leaf: leaf[1], members).training[0]
    assert "non-finite loss at step" in non_finite.why()


@pytest.mark.slow
def test_distill_over_keys_and_weights(decay, untrained):
    teacher = untrained(decay, 5)
    weights = jnp.array([0.0, 1.0, 3.0])

    def distil(key, weight):
        return kd.distill(
            teacher,
            key,
            imitate=(),
            stages=(kd.Adam(10, 1e-2),),
            weights={"soft_target": weight},
            terms={"soft_target": kd.soft_target(teacher, count=16)},
        )

    students = jax.vmap(distil)(KEYS, weights)
    for i in range(3):
        assert_same(students, i, distil(KEYS[i], float(weights[i])))


@pytest.mark.slow
def test_distill_inside_jit_over_teachers(decay, untrained):
    """A batch of teachers, each with its own student, in one program."""
    teachers = [untrained(decay, seed) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *teachers)

    def distil(teacher, key):
        return kd.distill(teacher, key, imitate=(kd.Adam(5, 1e-2),), stages=(kd.Adam(5, 1e-2),))

    students = jax.jit(jax.vmap(distil))(stacked, KEYS[:2])
    for i in range(2):
        assert_same(students, i, distil(teachers[i], KEYS[i]))


@pytest.mark.slow
def test_measured_values(decay):
    """One training per sample of the noise in the data: data are dynamic."""
    noise = jnp.array([[[0.1]], [[-0.2]]])

    def train(noise):
        measured = kd.data(np.full((1, 1), 0.5), 0.6 + noise)
        return kd.train_teacher(decay, KEYS[0], stages=(kd.Adam(3, 1e-2),), terms={"data": measured})

    members = jax.jit(jax.vmap(train))(noise)
    for i in range(2):
        assert_same(members, i, train(noise[i]))


@pytest.mark.slow
def test_two_stages(decay):
    """A member that becomes non-finite under Adam is left unchanged by L-BFGS."""
    rates = jnp.array([1e-2, 1e300])

    def train(key, rate):
        return kd.train_teacher(decay, key, stages=(kd.Adam(10, rate), kd.LBFGS(12)))

    members = jax.vmap(train)(KEYS[:2], rates)
    assert_same(members, 0, train(KEYS[0], 1e-2), rtol=1e-5)
    alone = train(KEYS[1], 1e300)
    assert len(alone.training) == 1
    assert int(members.training[1].status[1]) == kd.Status.NON_FINITE
    assert int(members.training[1].steps[1]) == 0
    assert int(members.training[1].status[0]) == kd.Status.COMPLETED
    member = jax.tree.map(lambda leaf: leaf[1], members.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), member, alone.params)
