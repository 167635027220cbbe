"""The Gaussian KL against its integral; soft targets, Sobolev targets and Huber against what they are defined by."""

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
def test_gaussian_kl_is_the_integral(teacher, student, sigma_teacher, sigma_student, temperature):
    p = norm(teacher, temperature * sigma_teacher)
    q = norm(student, temperature * sigma_student)
    reach = 12 * temperature * sigma_teacher
    want = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), teacher - reach, teacher + reach, points=[teacher])[0]
    got = float(kl(teacher * jnp.ones(1), student * jnp.ones(1), sigma_teacher, sigma_student, temperature)[0])
    assert got == pytest.approx(want, rel=1e-6, abs=1e-9)
    assert got >= -1e-14


@given(means, means, widths, st.floats(0.5, 3))
def test_gaussian_kl_of_equal_widths_is_a_square(teacher, student, sigma, temperature):
    got = float(kl(teacher * jnp.ones(1), student * jnp.ones(1), sigma, sigma, temperature)[0])
    assert got == pytest.approx((teacher - student) ** 2 / (2 * (temperature * sigma) ** 2), rel=1e-9, abs=1e-15)


@pytest.fixture(scope="module")
def pair(heat, untrained):
    """A teacher and a student that differ."""
    return untrained(heat, 1, kd.MLP((6,))), untrained(heat, 2, kd.MLP((4,)))


def rows_and_residuals(term, field, n=16):
    rows = term.sample(jax.random.key(0), n)
    return rows, jax.jit(jax.vmap(lambda row: term.residual(field, row, {})))(rows)


@pytest.mark.parametrize(("sigma_teacher", "sigma_student", "temperature"), [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0)])
def test_residual_squared_is_the_kl_up_to_its_constant(pair, sigma_teacher, sigma_student, temperature):
    teacher, student = pair
    numbers = {"sigma_teacher": sigma_teacher, "sigma_student": sigma_student, "temperature": temperature}
    rows, r = rows_and_residuals(kd.soft_target(teacher, **numbers), student.field)
    z = rows[:, :2]
    np.testing.assert_allclose(rows[:, 2:], teacher(z), rtol=1e-12)
    constant = np.log(sigma_student / sigma_teacher) + sigma_teacher**2 / (2 * sigma_student**2) - 0.5
    np.testing.assert_allclose(
        r**2 + constant, kd.gaussian_kl(teacher(z), student(z), **numbers), rtol=1e-10, atol=1e-14
    )


def test_a_perfect_student_has_nothing_to_learn(pair):
    teacher, student = pair
    term = kd.soft_target(teacher, sobolev=1.0)
    np.testing.assert_allclose(rows_and_residuals(term, teacher.field)[1], 0, atol=1e-12)
    assert float(jnp.max(jnp.abs(rows_and_residuals(term, student.field)[1]))) > 0.1


def test_temperature_scales(pair):
    teacher, student = pair
    warm, hot = (rows_and_residuals(kd.soft_target(teacher, temperature=t), student.field)[1] for t in (1.0, 4.0))
    np.testing.assert_allclose(hot, warm / 4, rtol=1e-12)


@pytest.mark.slow
def test_one_width_a_field(untrained):
    problem = kd.problems.ALL["taylor_green"]
    teacher, student = untrained(problem, 1, kd.MLP((4,))), untrained(problem, 2, kd.MLP((4,)))
    rows, r = rows_and_residuals(kd.soft_target(teacher, sigma_student=jnp.array([1.0, 1.0, 0.1])), student.field, 4)
    misfit = (student(rows[:, :3]) - rows[:, 3:]) / np.sqrt(2)
    np.testing.assert_allclose(r, misfit * np.array([[1, 1, 10]]), rtol=1e-10)


def test_sobolev_misfit(pair):
    """Teacher and student are known functions: t² x and 3x; slopes differ by (2tx, t² − 3), times the extent."""
    teacher, _ = pair
    wide = replace(teacher.problem, upper=(2.0, 5.0), ansatz=lambda net, z, c: 0 * net(z) + z[:1] ** 2 * z[1:])
    teacher = kd.Model(wide, teacher.network, teacher.params, teacher.coefficients)
    term = kd.soft_target(teacher, sigma_student=0.5, sobolev=0.09)
    rows, r = rows_and_residuals(term, lambda z: 3 * z[1:])
    t, x = np.asarray(rows[:, 0]), np.asarray(rows[:, 1])
    assert t.max() > 1
    assert x.max() > 2  # the distillation points fill the domain
    want = np.stack([3 * x - t**2 * x, 0.3 * 2 * (-2 * t * x), 0.3 * 5 * (3 - t**2)], axis=1) / (0.5 * np.sqrt(2))
    np.testing.assert_allclose(r, want, rtol=1e-11, atol=1e-12)


def test_no_gradient_reaches_the_teacher(pair):
    teacher, student = pair

    @jax.jit
    @jax.grad
    def slopes(params):
        taught = kd.soft_target(replace(teacher, params=params["teacher"]), sobolev=0.1)
        rows = taught.sample(jax.random.key(0), 8)
        u = replace(student, params=params["student"]).field
        return jnp.sum(jax.vmap(lambda row: taught.residual(u, row, {}))(rows) ** 2)

    gradient = slopes({"teacher": teacher.params, "student": student.params})
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient["teacher"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["student"]))


@pytest.mark.slow
def test_distill_has_the_term(decay, untrained):
    """A student trained by the loss of the paper, on soft targets alone, becomes its teacher, whatever the equation."""
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
    """From a teacher that is wrong: first its equal, then, by physics alone, better than it."""
    teacher = untrained(decay, 3)
    student = kd.distill(
        teacher, jax.random.key(0), network=kd.MLP((6,)), stages=(kd.LevenbergMarquardt(40),), progress=False
    )
    imitated, learnt = student.training
    assert set(imitated.history) == {"loss", "soft_target"}
    assert imitated.history["soft_target"][-1] < 1e-6
    assert set(learnt.history) == {"loss", "residual", "initial"}
    assert kd.evaluate(student).relative_l2 < 1e-4 < kd.evaluate(teacher).relative_l2


@pytest.mark.slow
def test_what_misses_the_equation_is_not_gone_on_from(decay):
    """Imitation of a steep teacher has a residual far above that of a fresh network: physics begins from that one, as
    without a teacher. Alone, under vmap and in a sweep."""
    good = kd.train_teacher(decay, jax.random.key(1), stages=(kd.LevenbergMarquardt(20),))
    steep = replace(good, params=jax.tree.map(lambda leaf: 40 * leaf, good.params))
    ours = {"network": kd.MLP((4,)), "stages": (kd.Adam(5, 1e-2),)}
    imitate, keys = (kd.LevenbergMarquardt(20),), jax.random.split(jax.random.key(0), 2)
    teach = lambda key, teacher=steep, imitate=imitate: kd.distill(teacher, key, imitate=imitate, **ours)

    def same(a, b):
        return all(
            np.allclose(x, y, rtol=1e-6) for x, y in zip(*map(jax.tree.leaves, (a.params, b.params)), strict=True)
        )

    many = jax.vmap(teach)(keys)
    swept = kd.sweep(
        steep, kd.members(steep, seed=(0, 1)), imitate=imitate, key=lambda seed: keys[seed], chunk=2, **ours
    )
    for i, key in enumerate(keys):
        student, fresh = teach(key), teach(key, imitate=())
        assert len(student.training) == 2
        assert same(student, fresh)
        assert same(student, jax.tree.map(lambda leaf, i=i: leaf[i], many))
        assert same(student, swept[i])
        assert not same(teach(key, good), fresh)


@pytest.mark.parametrize("name", ["sigma_teacher", "sigma_student", "temperature"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_widths_must_be_positive(pair, name, value):
    with pytest.raises(ValueError, match=f"{name}={value} must be positive"):
        kd.soft_target(pair[0], **{name: value})


def test_other_errors(pair):
    with pytest.raises(ValueError, match=r"sobolev=-1.0 must not be negative"):
        kd.soft_target(pair[0], sobolev=-1.0)
    for delta in (0.0, -2.0, float("nan")):
        with pytest.raises(ValueError, match=f"delta={delta} must be positive"):
            kd.huber(kd.Term(kd.box((0,), (1,)), kd.dirichlet(0.0)), delta)


@given(st.floats(0.1, 5), st.floats(-20, 20))
def test_huber(delta, r):
    """|r|² up to δ and 2δ|r| − δ² beyond, with the slope 2 clip(r, −δ, δ)."""
    term = kd.huber(kd.Term(kd.box((0,), (1,)), kd.dirichlet(0.0)), delta)

    def square(r):
        return jnp.sum(term.residual(lambda z: z, jnp.reshape(r, (1,)), {}) ** 2)

    value, slope = jax.value_and_grad(square)(jnp.asarray(r))
    assert float(value) == pytest.approx(r**2 if abs(r) <= delta else 2 * delta * abs(r) - delta**2, rel=1e-12)
    assert float(slope) == pytest.approx(2 * np.clip(r, -delta, delta), rel=1e-12)


def test_huber_at_its_edges():
    term = kd.huber(kd.Term(kd.box((0,), (1,)), kd.dirichlet(0.0), count=9), 0.5)
    assert term.count == 9
    residual = lambda r: term.residual(lambda z: z, r, {})
    r = jnp.array([0.0, 0.2, -0.3, 0.5, -0.5])
    np.testing.assert_array_equal(residual(r), r)  # quadratics are kept to the last bit
    np.testing.assert_array_equal(jnp.diagonal(jax.jacfwd(residual)(r)), np.ones(5))
    np.testing.assert_allclose(residual(jnp.array([2.0, -2.0])), [np.sqrt(1.75), -np.sqrt(1.75)], rtol=1e-14)
