"""Kuramoto–Sivashinsky: its reference against other methods, its symmetries and chaos. Time windows of any problem."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import simpson, solve_ivp

import kdpinn_jax as kd
from kdpinn_jax.problems.kuramoto_sivashinsky import initial_value
from kdpinn_jax.problems.references import kuramoto_sivashinsky as ks

ONE = {"viscosity": 1.0}
WAVE = 2 * np.pi / ks.LENGTH * np.arange(ks.HARMONICS + 1)


def evaluate(field, z):
    """The values of a scalar field at points (n, 2)."""
    return np.asarray(jax.jit(jax.vmap(field))(jnp.asarray(z)))[:, 0]


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def complex_modes(real_modes):
    """The result of ``_solve`` as complex coefficients, (times, HARMONICS + 1), with c₀ = 0."""
    a, b = np.split(real_modes, 2, axis=1)
    return np.pad(a - 1j * b, ((0, 0), (1, 0)))


@pytest.fixture(scope="module")
def window():
    """The complex modes at the stored times of the first window."""
    return complex_modes(ks._solve(1.0, round(ks.UNTIL / (ks.STEP * ks.STRIDE)), ks.STEP))


@pytest.fixture(scope="module")
def reference():
    return ks.kuramoto_sivashinsky(ONE)


# The reference ------------------------------------------------------------------------------------------------------


def test_two_time_steps_agree_between_stored_times(reference):
    finer = complex_modes(ks._solve(1.0, 2 * round(ks.UNTIL / (ks.STEP * ks.STRIDE)), ks.STEP / 2))
    x, every = np.linspace(0, ks.LENGTH, 40), slice(1, None, 6)  # odd, halfway between the stored times
    t = ks.STEP * np.arange(len(finer))[every]
    z = np.stack(np.meshgrid(t, x, indexing="ij"), axis=-1)
    expected = (finer[every] @ np.exp(1j * WAVE[:, None] * x[None, :])).real
    u = evaluate(reference, z.reshape(-1, 2)).reshape(expected.shape)
    assert relative(u, expected) < 1e-7
    assert relative(u[t > 0.1], expected[t > 0.1]) < 1e-9  # earlier, the effect of rounding the initial value decays


@pytest.mark.slow
def test_two_time_steps_agree_for_seven_lyapunov_times():
    coarse, fine = ks._solve(1.0, 6000, ks.STEP), ks._solve(1.0, 12000, ks.STEP / 2)[::2]
    assert relative(coarse[-1], fine[-1]) < 1e-6
    assert relative(coarse[:2001], fine[:2001]) < 1e-8  # to t = 50
    u = evaluate(ks.kuramoto_sivashinsky(ONE, until=150.0), [[150.0, 0.0], [150.1, 0.0]])
    assert u[0] == pytest.approx(np.sum(coarse[-1, : ks.HARMONICS]), abs=1e-12)
    assert np.isnan(u[1])


def test_another_integrator_agrees(window):
    """LSODA solves cₖ' = (q² − q⁴) cₖ − ½ iq (c * c)ₖ, with convolutions instead of Fourier transforms."""
    n = ks.HARMONICS

    def rate(_, state):
        c = np.concatenate([[0], state[:n] + 1j * state[n:]])
        two_sided = np.concatenate([c[:0:-1].conj(), c]) / 2
        square = np.convolve(two_sided, two_sided)[2 * n : 3 * n + 1]  # harmonics 0 … n of u²
        change = ((WAVE**2 - WAVE**4) * c - 1j * WAVE * square)[1:]
        return np.concatenate([change.real, change.imag])

    start = np.concatenate([window[0, 1:].real, window[0, 1:].imag])
    end = solve_ivp(rate, (0, 1), start, "LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
    assert relative(end[:n] + 1j * end[n:], window[round(1 / (ks.STEP * ks.STRIDE)), 1:]) < 1e-8


def test_energy_balance(window):
    """d/dt ½∫u² = ∫uₓ² − ∫uₓₓ², where a mean square is ½ Σ|cₖ|² by Parseval's theorem."""
    power = np.abs(window) ** 2
    energy, growth = np.sum(power, axis=1) / 4, np.sum((WAVE**2 - WAVE**4) * power, axis=1) / 2
    assert energy[-1] - energy[0] == pytest.approx(simpson(growth, dx=ks.STEP * ks.STRIDE), abs=1e-7)
    assert abs(energy[-1] - energy[0]) > 0.01


def test_symmetries(window):
    """Translations, the reflection u(x) → −u(−x), and u(t, x) → u(t, x − ct) + c, which preserves the mean."""
    start, c = window[0], 0.7
    moving = start.copy()
    moving[0] = 2 * c
    shift = np.exp(-1j * WAVE * 3.1)
    ends = ks.march(np.stack([start, shift * start, -start.conj(), moving]), 1.0, 0.02, 100, 100)[-1]
    np.testing.assert_allclose(ends[1], shift * ends[0], atol=1e-13)
    np.testing.assert_allclose(ends[2], -ends[0].conj(), atol=1e-13)
    assert ends[3, 0] == 2 * c
    np.testing.assert_allclose(ends[3, 1:], (np.exp(-1j * WAVE * c * 2.0) * ends[0])[1:], atol=1e-6)


def test_order_of_the_integrator(window):
    ends = [ks.march(window[0], 1.0, 1 / steps, steps, steps)[-1] for steps in (160, 320, 640)]
    ratio = np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[1] - ends[2])
    assert np.log2(ratio) == pytest.approx(4, abs=0.2)


def test_it_is_chaotic(window):
    """The distance of neighbours grows as e^{λt}, λ ≈ 0.043 … 0.048 (Cvitanović, Davidchack & Siminos 2010).

    The mean is over 16 pairs of trajectories and 100 time units. The initial state is on the attractor: its modes are
    no larger than later ones.
    """
    random = np.random.default_rng(0)
    perturbation = 0.3 * random.normal(size=(16, 4)) + 0.3j * random.normal(size=(16, 4))
    states = np.repeat(window[:1], 16, axis=0)
    states[:, 1:5] += perturbation
    states = ks.march(states, 1.0, 0.05, 1200, 1200)[-1]
    neighbours = states.copy()
    neighbours[:, 1] += 1e-9
    # After 20 time units the distance is in the direction of fastest growth.
    pairs = ks.march(np.stack([states, neighbours]), 1.0, 0.05, 2400, 400)
    distance = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=-1)
    assert 0.03 < np.mean(np.log(distance[-1] / distance[1])) / 100 < 0.06
    assert distance.max() < 1e-3
    largest = np.abs(pairs).max(axis=(0, 1, 2))
    assert np.all(np.abs(window[0, 1:17]) < 1.2 * largest[1:17] + 1e-5)


def test_start_period_and_outside(reference):
    x = np.linspace(0, ks.LENGTH, 20)
    inside = np.stack([np.linspace(0, ks.UNTIL, 20), x], axis=1)
    start = np.stack([np.zeros(20), x], axis=1)
    outside = np.array([[-0.01, 1.0], [5.01, 1.0]])
    rounded = np.array([[ks.UNTIL + 1e-12, 1.0]])
    u = evaluate(reference, np.concatenate([inside, inside + np.array([[0, ks.LENGTH]]), start, outside, rounded]))
    np.testing.assert_allclose(u[:20], u[20:40], atol=1e-12)
    np.testing.assert_allclose(u[40:60], jax.vmap(initial_value)(jnp.asarray(x)), atol=1e-13)
    assert np.isnan(u[60:62]).all()
    assert np.isfinite(u[62])
    with pytest.raises(ValueError, match="until=0"):
        ks.kuramoto_sivashinsky(ONE, until=0.0)


# Windows ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(heat, untrained):
    return untrained(heat, 0, kd.MLP((2,)))


def with_values_of(model, field):
    """The model with the values of ``field`` for any parameters."""
    return replace(model, problem=replace(model.problem, ansatz=lambda net, z, c: 0 * net(z) + field(z)))


def test_initial_from_vanishes_for_the_continuation(heat, tiny):
    alpha = heat.coefficients["alpha"]
    exact = heat.reference(heat.coefficients)
    term = kd.initial_from(with_values_of(tiny, exact))
    continuation = lambda z: exact(z + jnp.array([1.0, 0.0]))
    rows = jax.jit(lambda key: term.sample(key, 8))(jax.random.key(0))
    np.testing.assert_array_equal(rows[:, 0], 0)
    misfits = jax.jit(
        lambda rows: [jax.vmap(lambda row, u=u: term.residual(u, row, {}))(rows) for u in (continuation, exact)]
    )
    np.testing.assert_allclose(misfits(rows)[0], 0, atol=1e-14)
    restarted = (1 - np.exp(-alpha * np.pi**2)) * np.sin(np.pi * rows[:, 1])
    np.testing.assert_allclose(misfits(rows)[1][:, 0], restarted, rtol=1e-12)
    assert term.count == heat.terms["initial"].count


def test_another_window_is_not_traced_again(heat, tiny):
    traces = []

    def residual(u, z, c):
        traces.append(1)
        return u(z)

    problem = replace(heat, terms=dict(heat.terms) | {"residual": replace(heat.terms["residual"], residual=residual)})
    windows = [
        replace(tiny, problem=problem, params=jax.tree.map(lambda leaf, b=bias: leaf + b, tiny.params))
        for bias in (0.0, 1.0)
    ]
    targets = [kd.objective(problem, tiny.network, terms={"initial": kd.initial_from(before)}) for before in windows]
    draw = jax.jit(kd.sample)
    points = [draw(target, jax.random.key(0)) for target in targets]
    traces.clear()  # the checks of the problem trace its functions once
    losses = [kd.mean_squares(*pair) for pair in zip(targets, [tiny.params] * 2, points, strict=True)]
    assert len(traces) == 1
    assert losses[0]["initial"] != losses[1]["initial"]


@pytest.mark.slow
def test_windows_follow_the_solution_and_compile_once(decay):
    """u' = −k u over three windows, each of which starts where the previous one ends: e^{−kt} to t = 3."""
    traces = []

    def residual(u, z, c):
        traces.append(1)
        return kd.derivative(u, 0)(z) + c["k"] * u(z)

    equation = kd.Term(decay.terms["residual"].sample, residual, count=16)
    problem = replace(decay, terms=dict(decay.terms) | {"residual": equation}, reference=None, teacher=kd.MLP((4,)))
    stages, models, trace_counts = (kd.LevenbergMarquardt(40),), [], []
    for i in range(3):
        terms = {"initial": kd.initial_from(models[-1])} if models else None
        models.append(kd.train_teacher(problem, jax.random.key(i), stages=stages, terms=terms, progress=False))
        trace_counts.append(len(traces))
    assert trace_counts[0] > 0
    assert trace_counts[2] == trace_counts[1]
    t = np.linspace(0, 3, 31)[::-1]
    np.testing.assert_allclose(kd.predict_windows(models, t[:, None])[:, 0], np.exp(-t), atol=1e-4)


@pytest.mark.slow
def test_a_student_continues_from_the_previous_window(decay, untrained):
    """The student of the second window starts where the first window ends, not at the initial value of the problem."""
    previous = with_values_of(untrained(decay), lambda z: 0.5 * jnp.exp(-z))
    term = kd.initial_from(previous)
    stages = (kd.LevenbergMarquardt(40),)
    teacher = kd.train_teacher(decay, jax.random.key(0), stages=stages, terms={"initial": term}, progress=False)
    student = kd.distill(teacher, jax.random.key(1), stages=stages, terms={"initial": term}, progress=False)
    t = np.linspace(0, 1, 11)[:, None]
    np.testing.assert_allclose(student(t), 0.5 * np.exp(-1 - t), atol=1e-4)


@pytest.fixture(scope="module")
def wave(heat):
    """uₜₜ = u_xx on [0, ½] × [0, 1], u(0, x) = sin πx, uₜ(0, x) = 0, u = 0 on the walls; u = cos πt sin πx."""

    def residual(u, z, c):
        return kd.two_derivatives(u, z, 0)[2] - kd.two_derivatives(u, z, 1)[2]

    start = kd.box((0, 0), (0, 1))
    return kd.Problem(
        name="wave",
        axes=("t", "x"),
        fields=("u",),
        lower=(0.0, 0.0),
        upper=(0.5, 1.0),
        terms={
            "residual": kd.Term(kd.box((0, 0), (0.5, 1)), residual, count=200),
            "initial": kd.Term(start, kd.dirichlet(lambda z, c: jnp.sin(jnp.pi * z[1:])), count=40),
            "slope": kd.Term(start, kd.neumann(0.0, axis=0), count=40),
            "walls": kd.Term(kd.faces((0, 0), (0.5, 1), axes=(1,)), kd.dirichlet(0.0), count=40),
        },
        weights={"initial": 10.0, "slope": 10.0, "walls": 10.0},
    )


def test_a_slope_condition_hands_over_the_slope(wave, untrained):
    """For the exact solution both terms vanish one window later, and each constrains one derivative alone."""
    exact = lambda z: jnp.cos(jnp.pi * z[:1]) * jnp.sin(jnp.pi * z[1:])
    before = with_values_of(untrained(wave, 0, kd.MLP((2,))), exact)
    row = jnp.array([0.0, 0.3])
    later = lambda z: exact(z + jnp.array([0.5, 0.0]))
    for name, expected in (("initial", [0.0, 1.0, 0.0]), ("slope", [0.0, 0.0, 1.0])):
        residual = kd.initial_from(before, name).residual
        fields = [later, lambda z: later(z) + 1, lambda z: later(z) + z[:1]]
        misfits = [float(residual(u, row, {})[0]) for u in fields]
        np.testing.assert_allclose(misfits, expected, atol=1e-14)


@pytest.mark.slow
def test_a_forgotten_initial_condition_is_refused(wave, untrained):
    before, short = untrained(wave, 0, kd.MLP((2,))), {"network": kd.MLP((2,)), "stages": (kd.Adam(1),)}
    terms = {"initial": kd.initial_from(before)}
    with pytest.raises(ValueError, match=r"'slope' would still start it like the first one; add 'slope': kd.initial_f"):
        kd.train_teacher(wave, jax.random.key(0), terms=terms, **short)
    intended = terms | {"slope": wave.terms["slope"]}
    assert kd.train_teacher(wave, jax.random.key(0), terms=intended, **short).training


@pytest.mark.slow
def test_two_windows_of_the_wave_equation(wave):
    stages, models = (kd.LevenbergMarquardt(80, sampling=kd.Sampling(every=10)),), []
    for i in range(2):
        terms = {name: kd.initial_from(models[-1], name) for name in ("initial", "slope")} if models else None
        network = kd.MLP((16, 16))
        models.append(
            kd.train_teacher(wave, jax.random.key(i), network=network, stages=stages, terms=terms, progress=False)
        )
    t, x = np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 21), indexing="ij")
    u = kd.predict_windows(models, np.stack([t.ravel(), x.ravel()], axis=1))[:, 0]
    np.testing.assert_allclose(u, (np.cos(np.pi * t) * np.sin(np.pi * x)).ravel(), atol=3e-3)


def test_initial_from_errors(tiny):
    with pytest.raises(ValueError, match="has no term 'inital'; did you mean 'initial'"):
        kd.initial_from(tiny, "inital")
    with pytest.raises(ValueError, match="satisfies 'initial' identically"):
        kd.initial_from(replace(tiny, problem=replace(tiny.problem, enforced=("initial",))))
    with pytest.raises(ValueError, match=r"'boundary' has points away from t = 0, .* are \['initial'\]"):
        kd.initial_from(tiny, "boundary")
    term = kd.Term(kd.box((0, 0.5), (0, 0.6)), kd.dirichlet(0.0), count=7)
    assert kd.initial_from(tiny, term).count == 7


def test_predict_windows(heat, tiny):
    problem = replace(heat, lower=(-1.0, 0.0))  # windows of length 2, from −1
    models = [
        replace(tiny, problem=problem, params=jax.tree.map(lambda leaf, i=i: leaf + i, tiny.params)) for i in range(3)
    ]
    z = np.array([[4.9, 0.1], [-1.0, 0.2], [1.0, 0.3], [0.5, 0.4], [3.2, 0.5], [5.0, 0.6]])
    local = [(2, 0.9), (0, -1.0), (1, -1.0), (0, 0.5), (2, -0.8), (2, 1.0)]
    expected = [models[i](np.array([[t, x]]))[0] for (i, t), x in zip(local, z[:, 1], strict=True)]
    original = z.copy()
    np.testing.assert_allclose(kd.predict_windows(models, z), expected, atol=1e-13)
    np.testing.assert_array_equal(z, original)


def test_predict_windows_errors(tiny, decay, unchecked):
    model, other = tiny, replace(tiny, problem=decay)
    for times in ([0.5, 2.1], [-0.1, 0.5], [0.5, np.nan]):
        with pytest.raises(ValueError, match=r"2 windows cover 0\.0 to 2\.0"):
            kd.predict_windows([model, model], np.stack([times, [0.5, 0.5]], axis=1))
    with pytest.raises(ValueError, match="models is empty"):
        kd.predict_windows([], np.zeros((1, 2)))
    with pytest.raises(ValueError, match="model 1 solves another problem"):
        kd.predict_windows([model, other], np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"expected \(n, 2\), n ≥ 1, with columns t, x"):
        kd.predict_windows([model], np.zeros((3, 1)))
