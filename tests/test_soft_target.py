"""Gaussian KL divergence against its integral; soft targets, Sobolev targets and Huber loss by their definitions."""

from dataclasses import replace

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from scipy.integrate import quad
from scipy.stats import norm

import kdpinn_jax as kd

means, widths = st.floats(-2, 2), st.floats(0.2, 4)
kl = jax.jit(kd.gaussian_kl)


@given(means, means, widths, widths, st.floats(0.5, 3))
def test_gaussian_kl_equals_the_integral(teacher, student, sigma_teacher, sigma_student, temperature):
    p = norm(teacher, temperature * sigma_teacher)
    q = norm(student, temperature * sigma_student)
    reach = 12 * temperature * sigma_teacher
    integrand = lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x))
    expected = quad(integrand, teacher - reach, teacher + reach, points=[teacher])[0]
    value = float(kl(teacher * jnp.ones(1), student * jnp.ones(1), sigma_teacher, sigma_student, temperature)[0])
    assert value == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert value >= -1e-14


@given(means, means, widths, st.floats(0.5, 3))
def test_gaussian_kl_of_equal_sigmas_is_the_squared_error(teacher, student, sigma, temperature):
    value = float(kl(teacher * jnp.ones(1), student * jnp.ones(1), sigma, sigma, temperature)[0])
    assert value == pytest.approx((teacher - student) ** 2 / (2 * (temperature * sigma) ** 2), rel=1e-9, abs=1e-15)


@pytest.fixture(scope="module")
def pair(heat, untrained):
    """A teacher and a different student."""
    return untrained(heat, 1, kd.MLP((6,))), untrained(heat, 2, kd.MLP((4,)))


def rows_and_residuals(term, field, n=16):
    rows = term.sample(jax.random.key(0), n)
    return rows, jax.jit(jax.vmap(lambda row: term.residual(field, row, {})))(rows)


@pytest.mark.parametrize(("sigma_teacher", "sigma_student", "temperature"), [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0)])
def test_squared_residual_is_the_kl_without_its_constant(pair, sigma_teacher, sigma_student, temperature):
    teacher, student = pair
    numbers = {"sigma_teacher": sigma_teacher, "sigma_student": sigma_student, "temperature": temperature}
    rows, r = rows_and_residuals(kd.soft_target(teacher, **numbers), student.field)
    z = rows[:, :2]
    np.testing.assert_allclose(rows[:, 2:], teacher(z), rtol=1e-12)
    constant = np.log(sigma_student / sigma_teacher) + sigma_teacher**2 / (2 * sigma_student**2) - 0.5
    np.testing.assert_allclose(
        r**2 + constant, kd.gaussian_kl(teacher(z), student(z), **numbers), rtol=1e-10, atol=1e-14
    )


def test_the_residual_of_a_perfect_student_is_zero(pair):
    teacher, student = pair
    term = kd.soft_target(teacher, sobolev=1.0)
    np.testing.assert_allclose(rows_and_residuals(term, teacher.field)[1], 0, atol=1e-12)
    assert float(jnp.max(jnp.abs(rows_and_residuals(term, student.field)[1]))) > 0.1


def test_temperature_scales_the_residual(pair):
    teacher, student = pair
    cold, hot = (rows_and_residuals(kd.soft_target(teacher, temperature=t), student.field)[1] for t in (1.0, 4.0))
    np.testing.assert_allclose(hot, cold / 4, rtol=1e-12)


@pytest.mark.slow
def test_one_sigma_per_field(untrained):
    problem = kd.problems.ALL["taylor_green"]
    teacher, student = untrained(problem, 1, kd.MLP((4,))), untrained(problem, 2, kd.MLP((4,)))
    rows, r = rows_and_residuals(kd.soft_target(teacher, sigma_student=jnp.array([1.0, 1.0, 0.1])), student.field, 4)
    misfit = (student(rows[:, :3]) - rows[:, 3:]) / np.sqrt(2)
    np.testing.assert_allclose(r, misfit * np.array([[1, 1, 10]]), rtol=1e-10)


def test_sobolev_misfit(pair):
    """The teacher is t² x and the student 3x: their slopes differ by (2tx, t² − 3), times the extent."""
    teacher, _ = pair
    wide = replace(teacher.problem, upper=(2.0, 5.0), ansatz=lambda net, z, c: 0 * net(z) + z[:1] ** 2 * z[1:])
    teacher = kd.Model(wide, teacher.network, teacher.params, teacher.coefficients)
    term = kd.soft_target(teacher, sigma_student=0.5, sobolev=0.09)
    rows, r = rows_and_residuals(term, lambda z: 3 * z[1:])
    t, x = np.asarray(rows[:, 0]), np.asarray(rows[:, 1])
    assert t.max() > 1
    assert x.max() > 2  # the distillation points fill the domain
    expected = np.stack([3 * x - t**2 * x, 0.3 * 2 * (-2 * t * x), 0.3 * 5 * (3 - t**2)], axis=1) / (0.5 * np.sqrt(2))
    np.testing.assert_allclose(r, expected, rtol=1e-11, atol=1e-12)


def test_no_gradient_reaches_the_teacher(pair):
    teacher, student = pair

    @jax.jit
    @jax.grad
    def loss_gradient(params):
        term = kd.soft_target(replace(teacher, params=params["teacher"]), sobolev=0.1)
        rows = term.sample(jax.random.key(0), 8)
        u = replace(student, params=params["student"]).field
        return jnp.sum(jax.vmap(lambda row: term.residual(u, row, {}))(rows) ** 2)

    gradient = loss_gradient({"teacher": teacher.params, "student": student.params})
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient["teacher"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["student"]))


@pytest.mark.slow
def test_soft_targets_alone_reproduce_the_teacher(decay, untrained):
    """With all other weights 0, the loss of the paper makes the student equal its teacher."""
    teacher = untrained(decay, 3)
    student = kd.distill(
        teacher,
        jax.random.key(0),
        network=kd.MLP((6,)),
        stages=(kd.LBFGS(60),),
        imitate=(),
        weights={"residual": 0.0, "initial": 0.0, "soft_target": 1.0},
        terms={"soft_target": kd.soft_target(teacher, count=64)},
        progress=False,
    )
    z = jnp.linspace(0, 1, 33)[:, None]
    assert float(jnp.max(jnp.abs(student(z) - teacher(z)))) < 1e-3 * float(jnp.max(jnp.abs(teacher(z))))
    assert float(student.training[-1].history["soft_target"][-1]) < 1e-7
    assert "residual" in student.training[-1].history


@pytest.mark.slow
def test_distill_imitates_and_then_learns(decay, untrained):
    """The student first reproduces a wrong teacher and then, trained on the PDE alone, becomes more accurate."""
    teacher = untrained(decay, 3)
    student = kd.distill(
        teacher, jax.random.key(0), network=kd.MLP((6,)), stages=(kd.LevenbergMarquardt(40),), progress=False
    )
    imitation, physics = student.training
    assert set(imitation.history) == {"loss", "soft_target"}
    assert imitation.history["soft_target"][-1] < 1e-6
    assert set(physics.history) == {"loss", "residual", "initial"}
    assert kd.evaluate(student).relative_l2 < 1e-4 < kd.evaluate(teacher).relative_l2


@pytest.mark.slow
def test_imitation_with_a_larger_physics_loss_is_discarded(decay):
    """Training on the PDE starts from fresh parameters if imitation raises the loss on the PDE above theirs.

    The imitation of a steep teacher does. This holds for one training, under vmap and in a sweep.
    """
    accurate = kd.train_teacher(decay, jax.random.key(1), stages=(kd.LevenbergMarquardt(20),))
    steep = replace(accurate, params=jax.tree.map(lambda leaf: 40 * leaf, accurate.params))
    options = {"network": kd.MLP((4,)), "stages": (kd.Adam(5, 1e-2),)}
    imitate, keys = (kd.LevenbergMarquardt(20),), jax.random.split(jax.random.key(0), 2)
    distil = lambda key, teacher=steep, imitate=imitate: kd.distill(teacher, key, imitate=imitate, **options)

    def same(a, b):
        return all(
            np.allclose(x, y, rtol=1e-6) for x, y in zip(*map(jax.tree.leaves, (a.params, b.params)), strict=True)
        )

    batch = jax.vmap(distil)(keys)
    swept = kd.sweep(
        steep, kd.members(steep, seed=(0, 1)), imitate=imitate, key=lambda seed: keys[seed], chunk=2, **options
    )
    for i, key in enumerate(keys):
        student, fresh = distil(key), distil(key, imitate=())
        assert len(student.training) == 2
        assert same(student, fresh)
        assert same(student, jax.tree.map(lambda leaf, i=i: leaf[i], batch))
        assert same(student, swept[i])
        assert not same(distil(key, accurate), fresh)


@pytest.mark.parametrize("name", ["sigma_teacher", "sigma_student", "temperature"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_sigmas_and_temperature_must_be_positive(pair, name, value):
    with pytest.raises(ValueError, match=f"{name}={value} must be positive"):
        kd.soft_target(pair[0], **{name: value})


def test_other_invalid_arguments(pair):
    with pytest.raises(ValueError, match=r"sobolev=-1.0 must not be negative"):
        kd.soft_target(pair[0], sobolev=-1.0)
    for delta in (0.0, -2.0, float("nan")):
        with pytest.raises(ValueError, match=f"delta={delta} must be positive"):
            kd.huber(kd.Term(kd.box((0,), (1,)), kd.dirichlet(0.0)), delta)


@given(st.floats(0.1, 5), st.floats(-20, 20))
def test_huber(delta, r):
    """The loss is |r|² up to δ and 2δ|r| − δ² beyond, with the slope 2 clip(r, −δ, δ)."""
    term = kd.huber(kd.Term(kd.box((0,), (1,)), kd.dirichlet(0.0)), delta)

    def square(r):
        return jnp.sum(term.residual(lambda z: z, jnp.reshape(r, (1,)), {}) ** 2)

    value, slope = jax.value_and_grad(square)(jnp.asarray(r))
    assert float(value) == pytest.approx(r**2 if abs(r) <= delta else 2 * delta * abs(r) - delta**2, rel=1e-12)
    assert float(slope) == pytest.approx(2 * np.clip(r, -delta, delta), rel=1e-12)


def test_huber_up_to_delta_and_beyond():
    term = kd.huber(kd.Term(kd.box((0,), (1,)), kd.dirichlet(0.0), count=9), 0.5)
    assert term.count == 9
    residual = lambda r: term.residual(lambda z: z, r, {})
    r = jnp.array([0.0, 0.2, -0.3, 0.5, -0.5])
    np.testing.assert_array_equal(residual(r), r)  # unchanged to the last bit
    np.testing.assert_array_equal(jnp.diagonal(jax.jacfwd(residual)(r)), np.ones(5))
    np.testing.assert_allclose(residual(jnp.array([2.0, -2.0])), [np.sqrt(1.75), -np.sqrt(1.75)], rtol=1e-14)


@pytest.mark.slow
def test_imitation_points_lie_inside_the_domain(heat, untrained):
    """Also for a family, whose coefficients the predicate does not see."""
    problem = replace(heat, inside=lambda z: z[0] + z[1] < 1)
    for teacher in (untrained(problem), untrained(kd.parametric(problem, alpha=(0.1, 0.2)))):
        rows = np.asarray(kd.soft_target(teacher).sample(jax.random.key(0), 500))
        assert len(rows) == 500
        assert rows[:, :2].sum(axis=1).max() < 1
