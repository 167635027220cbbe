"""The training loop: it solves problems with exact solutions and reports how it ended."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.models.grids import domain_points

T = np.linspace(0, 1, 21)[:, None]


def bits(params):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)]


def prepare(problem, seed=0, **overrides):
    """An objective, initial parameters and a key."""
    target = kd.objective(problem, **overrides)
    return target, kd.init_params(problem, target.network, jax.random.key(seed)), jax.random.key(seed + 1)


@pytest.fixture(scope="module")
def trained(decay):
    """Adam, then L-BFGS, on u' = −u."""
    return kd.train_teacher(decay, jax.random.key(0), stages=(kd.Adam(50, 1e-2), kd.LBFGS(150)), track_error=True)


def test_solves_the_equation(trained):
    assert np.max(np.abs(np.asarray(trained(T)) - np.exp(-T))) < 1e-4
    assert [report.stage for report in trained.training] == ["Adam", "LBFGS"]


@pytest.mark.slow
def test_adam_alone_solves_the_equation(decay):
    model = kd.train_teacher(decay, jax.random.key(0), stages=(kd.Adam(1500, 2e-2),))
    assert np.max(np.abs(np.asarray(model(T)) - np.exp(-T))) < 1e-2


@pytest.mark.slow
def test_teacher_and_student_solve_the_heat_equation(heat):
    stages = (kd.LevenbergMarquardt(40),)
    teacher = kd.train_teacher(heat, jax.random.key(0), stages=stages)
    assert kd.evaluate(teacher).relative_l2 < 2e-3
    student = kd.distill(teacher, jax.random.key(1), imitate=(), stages=stages, weights={"soft_target": 1.0})
    assert student.parameters < teacher.parameters / 3
    assert kd.evaluate(student).relative_l2 < 5e-3


def test_reports_have_steps_losses_and_times(trained):
    adam, lbfgs = trained.training
    assert list(adam.record_steps) == [20, 40, 50]
    assert list(lbfgs.record_steps) == [20, 40, 60, 80, 100, 120, 140, 150][: len(lbfgs.record_steps)]
    for report in trained.training:
        n = len(report.record_steps)
        assert report.steps == report.record_steps[-1]
        assert set(report.history) == {"residual", "initial", "loss", "relative_l2"}
        assert {len(values) for values in report.history.values()} == {n}
        assert report.record_seconds.shape == (n,)
        assert np.all(np.diff(report.record_seconds) > 0)
        assert report.seconds >= report.record_seconds[-1]
        total = report.history["residual"] + report.history["initial"]
        np.testing.assert_allclose(report.history["loss"], total, rtol=1e-12)
    assert adam.why() == "completed its 50 steps"


def test_history_has_the_error_and_the_mean_squares_of_the_model(trained, decay):
    """The last record belongs to the returned parameters."""
    z = domain_points(trained.problem, coarse=True)[0]
    error = np.linalg.norm(np.asarray(trained(z)) - np.exp(-z)) / np.linalg.norm(np.exp(-z))
    assert trained.training[-1].history["relative_l2"][-1] == pytest.approx(error, rel=1e-9)
    initial = float(trained(np.zeros((1, 1)))[0, 0]) - 1
    assert trained.training[-1].history["initial"][-1] == pytest.approx(initial**2, rel=1e-6)


@pytest.mark.parametrize("stage", [kd.Adam(9, 1e-2), kd.LBFGS(9), kd.SSBroyden(9), kd.LevenbergMarquardt(9)])
def test_a_step_returns_the_term_losses(decay, stage):
    """The mean square of every term, including one of weight 0, at the new parameters; for Adam, at the old ones."""
    target, params, key = prepare(decay, weights={"initial": 0.0})
    points = kd.sample(target, key)
    new = jax.jit(stage.step)(target, params, stage.init(target, params, points), points)
    expected = kd.mean_squares(target, params if isinstance(stage, kd.Adam) else new.params, points)
    assert set(new.term_losses) == {"residual", "initial"}
    for name, mean_square in expected.items():
        assert float(new.term_losses[name]) == pytest.approx(float(mean_square), rel=1e-9)
    assert float(new.loss) == pytest.approx(float(expected["residual"]), rel=1e-9)


def test_lbfgs_never_raises_the_loss(decay):
    target, params, key = prepare(decay)
    report = kd.fit(target, params, key, (kd.LBFGS(150),), record_every=1).stages[0]
    assert len(report.history["loss"]) == report.steps
    assert np.all(np.diff(report.history["loss"]) <= 1e-12 * report.history["loss"][:-1])
    assert report.history["loss"][-1] < 1e-6 * report.history["loss"][0]


@pytest.mark.slow
def test_a_failed_line_search_in_float32_is_explained(decay, float32):
    """Rounding stops the loss from falling long before 20000 steps in float32; the report must say so."""
    target, params, key = prepare(decay)
    result = kd.fit(target, params, key, (kd.LBFGS(20000),), record_every=100)
    report = result.stages[0]
    assert jax.tree.leaves(result.params)[0].dtype == np.float32
    assert kd.Status(report.status) is kd.Status.LINE_SEARCH_FAILED
    assert report.steps < 20000
    assert "line search failed at step" in report.why()
    assert "use float64" in report.why()
    assert np.all(np.diff(report.history["loss"]) <= 1e-6 * report.history["loss"][:-1])


def test_the_key_determines_the_result(decay, trained):
    again, other = (
        kd.train_teacher(decay, jax.random.key(k), stages=(kd.Adam(50, 1e-2), kd.LBFGS(150))) for k in (0, 1)
    )
    assert bits(again.params) == bits(trained.params)
    assert bits(other.params) != bits(trained.params)


@pytest.mark.slow
def test_a_huge_learning_rate_ends_the_training(decay):
    target, params, key = prepare(decay)
    result = kd.fit(target, params, key, (kd.Adam(100, 1e300), kd.LBFGS(10)))
    (report,) = result.stages  # L-BFGS did not begin
    assert kd.Status(report.status) is kd.Status.NON_FINITE
    assert report.steps < 100
    assert "non-finite loss at step" in report.why()
    assert "lower the learning rate" in report.why()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))
    assert np.isfinite(kd.loss(target, result.params, kd.sample(target, key)))


@pytest.mark.slow
@pytest.mark.parametrize("stage", [kd.Adam(500, 1e-2), kd.LBFGS(500)])
def test_a_residual_that_becomes_nan(decay, stage):
    """The residual pulls u towards 2 but is NaN above 1: the parameters that are kept are finite."""
    cliff = kd.Term(kd.box((0,), (1,)), lambda u, z, c: jnp.where(u(z) < 1, u(z) - 2, jnp.nan), count=8)
    target, params, key = prepare(decay, terms={"cliff": cliff}, weights={"residual": 0.0, "initial": 0.0})
    params = jax.tree.map(lambda p: 0.1 * p, params)
    result = kd.fit(target, params, key, (stage, kd.Adam(500)))
    report = result.stages[0]
    u = np.asarray(kd.Model(decay, target.network, result.params, target.coefficients)(T))
    assert np.all(np.isfinite(u))
    if isinstance(stage, kd.Adam):
        assert kd.Status(report.status) is kd.Status.NON_FINITE
        assert len(result.stages) == 1
        assert 1 < report.steps < 500
        assert 0.8 < np.max(u) < 1.05
    else:  # the line search steps back from the cliff or fails there, but never returns non-finite parameters
        assert np.all(np.isfinite(report.history["loss"]))


@pytest.mark.slow
def test_a_slow_stage_leaves_time_for_the_next(decay, monkeypatch):
    """With a clock that advances by a second per reading, the first stage gets half of the hundred seconds."""
    target, params, key = prepare(decay)
    seconds = itertools.count()
    monkeypatch.setattr("kdpinn_jax.training.checkpoint.time.perf_counter", lambda: float(next(seconds)))
    first, second = kd.fit(target, params, key, (kd.Adam(10**9), kd.LBFGS(5)), time_budget=100.0).stages
    assert kd.Status(first.status) is kd.Status.TIME_BUDGET
    assert 30 < first.seconds < 60
    assert kd.Status(second.status) is not kd.Status.TIME_BUDGET


@pytest.mark.slow
def test_the_default_stages_use_the_whole_time_budget(decay, monkeypatch):
    """With a clock that advances by a second per reading, 400 steps of Levenberg–Marquardt take 600 s."""
    seconds = itertools.count()
    monkeypatch.setattr("kdpinn_jax.training.checkpoint.time.perf_counter", lambda: float(next(seconds)))
    run = lambda **options: kd.train_teacher(decay, jax.random.key(0), progress=False, **options)
    (report,) = run(time_budget=900.0).training
    assert report.steps > 400
    assert report.why() == f"time budget spent at step {report.steps}"
    (explicit,) = run(time_budget=900.0, stages=(kd.LevenbergMarquardt(6),)).training
    assert explicit.why() == "completed its 6 steps"
    models = jax.vmap(lambda key: kd.train_teacher(decay, key, network=kd.MLP((2,)), time_budget=9.0))(
        jax.random.split(jax.random.key(0), 1)
    )
    assert models.training[0].planned == 400  # under vmap there is no clock


def test_time_budget(decay):
    target, params, key = prepare(decay)
    result = kd.fit(target, params, key, (kd.Adam(10**7), kd.LBFGS(5)), time_budget=1e-3)
    (report,) = result.stages
    assert kd.Status(report.status) is kd.Status.TIME_BUDGET
    assert report.steps < 10**7
    assert "time budget spent" in report.why()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))


def test_ctrl_c_in_the_monitor(decay):
    """The exception has the results so far, including the record during which Ctrl-C was pressed."""
    target, params, key = prepare(decay)
    monitored = []

    def monitor(params):
        monitored.append(params)
        if len(monitored) == 2:
            signal.raise_signal(signal.SIGINT)
        return jnp.asarray(0.5)

    with pytest.raises(KeyboardInterrupt, match="interrupted at step") as interrupted:
        kd.fit(target, params, key, (kd.Adam(50), kd.LBFGS(5)), monitor=monitor)
    assert isinstance(interrupted.value, kd.TrainingInterrupted)
    (report,) = interrupted.value.fit.stages
    assert kd.Status(report.status) is kd.Status.INTERRUPTED
    assert list(report.history["relative_l2"]) == [0.5, 0.5]
    assert bits(interrupted.value.fit.params) == bits(monitored[-1])


@pytest.mark.slow
def test_ctrl_c_in_a_process():
    """A real SIGINT during train_teacher leaves a model that predicts."""
    script = """
    import jax, numpy as np, kdpinn_jax as kd
    from kdpinn_jax.training import monitor
    problem = kd.problems.ALL["burgers"]
    relative_l2 = monitor._relative_l2
    def announce(*arguments):
        print("training", flush=True)
        return relative_l2(*arguments)
    monitor._relative_l2 = announce
    try:
        kd.train_teacher(problem, jax.random.key(0), network=kd.MLP((4,)), stages=(kd.Adam(10**7),), track_error=True)
    except kd.TrainingInterrupted as error:
        u = np.asarray(error.model(np.zeros((3, 2))))
        print("caught", error, error.model.training[-1].steps, u.shape, bool(np.isfinite(u).all()), flush=True)
    """
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "training\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    last_line = out.splitlines()[-1]
    assert last_line.startswith("caught interrupted at step"), err
    assert last_line.endswith("(3, 1) True")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("status", "explanation"),
    [
        (kd.Status.RUNNING, "still running at step 7 of 9"),
        (kd.Status.COMPLETED, "completed its 7 steps"),
        (kd.Status.CONVERGED, "converged at step 7 of 9: there is nothing more to gain"),
        (kd.Status.NON_FINITE, "non-finite loss at step 7 of 9; kept the last finite parameters"),
        (kd.Status.LINE_SEARCH_FAILED, "line search failed at step 7 of 9"),
        (kd.Status.TIME_BUDGET, "time budget spent at step 7 of 9"),
        (kd.Status.INTERRUPTED, "interrupted at step 7 of 9"),
    ],
)
def test_every_status_is_explained(trained, status, explanation):
    assert replace(trained.training[0], planned=9, steps=7, status=int(status)).why().startswith(explanation)


@pytest.fixture(scope="module")
def point_history(decay):
    """Terms that do not depend on the network show by their mean squares which points were drawn.

    One has the residual z, the other 2 in the right half of the domain and 0 in the left.
    """
    where = kd.Term(kd.box((0,), (1,), "uniform"), lambda u, z, c: z, count=5)
    jump = kd.Term(kd.box((0,), (1,), "uniform"), lambda u, z, c: jnp.where(z > 0.5, 2.0, 0.0), count=1000)
    target, params, key = prepare(decay, terms={"where": where, "jump": jump}, weights={"where": 0.0, "jump": 0.0})

    def history(stage):
        return kd.fit(target, params, key, (stage,), record_every=1).stages[0].history

    return history


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "every", "after"), [(kd.Adam, 0, []), (kd.Adam, 3, [2, 5]), (kd.LBFGS, 3, [2, 5])])
def test_points_are_redrawn_when_due(point_history, kind, every, after):
    """With ``every=3``, between steps 3 and 4 and between steps 6 and 7."""
    redrawn = np.diff(point_history(kind(7, sampling=kd.Sampling(every=every)))["where"]) != 0
    assert list(np.flatnonzero(redrawn)) == after


def test_default_sampling():
    assert kd.Adam().sampling.every == 1
    assert kd.LBFGS().sampling.every == 0


@pytest.mark.slow
def test_adaptive_points(point_history):
    """The densities are 3 to 1: the mean square rises from 2 to 3, as far as ten candidates per point allow."""
    mean_squares = point_history(kd.Adam(3, sampling=kd.Sampling(every=1, adaptive=("jump",))))["jump"]
    deviation = 4 * np.sqrt(0.25 / 1000)
    assert np.all(np.abs(mean_squares - 3) < 4 * deviation + 0.15)


@pytest.mark.slow
def test_schedule(decay):
    """Adam's first step changes every parameter by learning rate · schedule(0), whatever the size of the gradient."""
    target, params, key = prepare(decay)

    def first_step(**numbers):
        after = kd.fit(target, params, key, (kd.Adam(1, 1e-2, **numbers),)).params
        return [np.abs(np.asarray(a - b)) for a, b in zip(*map(jax.tree.leaves, (after, params)), strict=True)]

    for step in first_step():
        np.testing.assert_allclose(step, 1e-2, rtol=1e-4)
    for step in first_step(schedule=lambda count: 0.25):
        np.testing.assert_allclose(step, 2.5e-3, rtol=1e-4)


@pytest.mark.slow
def test_one_trace_for_repeated_calls(decay, untrained):
    """New keys, weights, coefficients, learning rates, data and teachers reuse the compiled programs."""
    calls = []

    def residual(u, z, c):
        calls.append(1)
        return kd.derivative(u, 0)(z) + c["k"] * u(z)

    problem = replace(decay, terms={**decay.terms, "residual": kd.Term(kd.box((0,), (1,)), residual, count=8)})

    def train(seed, rate, **numbers):
        measured = kd.data(np.full((1, 1), 0.5), np.full((1, 1), seed / 10))
        return kd.train_teacher(
            problem, jax.random.key(seed), stages=(kd.Adam(3, rate),), terms={"data": measured}, **numbers
        )

    train(0, 1e-2, weights={"initial": 2.0}, coefficients={"k": 1.0})
    assert calls
    calls.clear()
    train(1, 3e-3, weights={"initial": 5, "data": 0.5}, coefficients={"k": np.float64(2.0)})
    assert not calls

    def distil(seed, **numbers):
        teacher = untrained(problem, seed)
        short = {"imitate": (kd.Adam(3),), "stages": (kd.Adam(3), kd.LevenbergMarquardt(2))}
        return kd.distill(teacher, jax.random.key(seed), **short, **numbers)

    distil(0, weights={"soft_target": 1.0})
    calls.clear()
    distil(1, weights={"soft_target": 0.3})
    assert not calls
    teacher = train(2, 1e-2)  # its reports must not cause another trace
    calls.clear()
    kd.distill(teacher, jax.random.key(3), imitate=(kd.Adam(3),), stages=(kd.Adam(3),), weights={"soft_target": 1})
    assert not calls


@pytest.mark.slow
def test_float32_is_a_warning_unless_it_is_intended(decay, float32):
    train = lambda **options: kd.train_teacher(decay, jax.random.key(0), stages=(kd.Adam(2),), **options)
    with pytest.warns(RuntimeWarning, match=r"train_teacher: training in float32, .*pass dtype='float32' if"):
        teacher = train()
    with pytest.warns(RuntimeWarning, match="distill: training in float32"):
        kd.distill(teacher, jax.random.key(0), imitate=(), stages=(kd.Adam(2),))
    assert bits(train(dtype="float32").params) == bits(teacher.params)
    with pytest.raises(ValueError, match=r"dtype=float64 is intended, but JAX computes in float32; call jax.config.up"):
        train(dtype="float64")
    with jax.enable_x64(True), pytest.raises(ValueError, match="dtype=float32 is intended, but JAX computes in float6"):
        train(dtype="float32")


def test_invalid_arguments(decay):
    target, params, key = prepare(decay)
    with pytest.raises(ValueError, match="stages is empty"):
        kd.fit(target, params, key, ())
    with pytest.raises(ValueError, match="record_every=0"):
        kd.fit(target, params, key, (kd.Adam(1),), record_every=0)
    for budget in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="time_budget"):
            kd.fit(target, params, key, (kd.Adam(1),), time_budget=budget)
    with pytest.raises(ValueError, match="steps=0"):
        kd.Adam(0)
    with pytest.raises(ValueError, match="steps=0"):
        kd.LBFGS(0)
    with pytest.raises(ValueError, match="history=0"):
        kd.LBFGS(5, history=0)
