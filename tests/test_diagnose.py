"""Warnings about trainings: what is wrong is named, each advice has a value to try, and good trainings have none."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.training.review import term_reports

KEY = jax.random.key(0)
FIXED = kd.LevenbergMarquardt(40, sampling=kd.Sampling())
ADAPTIVE = kd.LevenbergMarquardt(40, sampling=kd.Sampling(every=10, adaptive=("residual",)))


def train(problem, stage=FIXED, **options):
    return kd.train_teacher(problem, KEY, stages=(stage,), progress=False, **options)


@pytest.fixture(scope="module")
def logarithm():
    """u' = (√u)², u(0) = 1: the residual is NaN wherever u < 0, as it is for an untrained network."""

    def residual(u, z, c):
        return kd.derivative(u, 0)(z) - jnp.sqrt(u(z) - 5.0) ** 2

    return kd.Problem(
        name="logarithm",
        axes=("t",),
        fields=("u",),
        lower=(0.0,),
        upper=(1.0,),
        terms={
            "residual": kd.Term(kd.box((0,), (1,)), residual, count=8),
            "initial": kd.Term(kd.box((0,), (0,)), kd.dirichlet(1.0), count=1),
        },
        teacher=kd.MLP((4,)),
        student=kd.MLP((3,)),
    )


@pytest.mark.slow
def test_a_good_training_has_no_warnings(decay):
    assert kd.diagnose(train(decay).training) == ()
    assert kd.diagnose(train(decay, ADAPTIVE).training) == ()
    assert kd.diagnose(()) == ()


@pytest.mark.parametrize("stage", [kd.Adam(3), kd.LevenbergMarquardt(3, sampling=kd.Sampling())])
def test_a_loss_that_is_never_finite(logarithm, stage):
    (warning,) = kd.diagnose(train(logarithm, stage).training)
    assert warning.startswith("nothing was learned: the loss of 'residual' is not finite at the first step of")
    assert "ansatz=lambda net, z, c:" in warning


def test_a_teacher_that_learned_nothing_is_refused(logarithm, decay, untrained):
    teacher = train(logarithm, kd.Adam(2))
    for options in ({}, {"imitate": (), "weights": {"soft_target": 1.0}}):
        with pytest.raises(ValueError, match=r"the teacher is untrained \(non-finite loss at step 1 of 2"):
            kd.distill(teacher, KEY, stages=(kd.Adam(2),), **options)
    student = kd.distill(teacher, KEY, imitate=(), stages=(kd.Adam(2),), progress=False)
    assert "nothing was learned" in kd.diagnose(student.training)[0]
    not_finite = untrained(decay)
    not_finite = replace(not_finite, params=jax.tree.map(lambda leaf: leaf * jnp.nan, not_finite.params))
    with pytest.raises(ValueError, match="the teacher's parameters are not finite"):
        kd.distill(not_finite, KEY, stages=(kd.Adam(2),))


def test_no_time_for_a_step(decay):
    (warning,) = kd.diagnose(train(decay, time_budget=1e-9).training)
    assert warning.startswith("untrained: compiling took the whole time budget")
    assert "time_budget=60" in warning


def test_a_wrong_solution_is_noticed_without_track_error(decay):
    """u' = −u is solved to rounding error from u(0) = 2; the reference starts at 1."""
    wrong = replace(decay, reference=lambda c: lambda z: 0.5 * jnp.exp(-z))
    model = train(wrong)
    assert "relative_l2" not in model.training[-1].history
    assert model.training[-1].relative_l2 == pytest.approx(1.0, abs=1e-3)
    (warning,) = kd.diagnose(model.training)
    assert "differs from the reference by 100 %" in warning
    assert "weights={'initial': 10}" in warning
    assert "Sampling(every=10, adaptive=('residual',))" in warning
    (warning,) = kd.diagnose(train(wrong, ADAPTIVE).training)
    assert "adaptive" not in warning


@pytest.mark.slow
def test_the_reference_of_another_problem_is_not_compared(decay):
    """A later time window has another initial value; an undefined reference does not prevent a training."""
    other = kd.Term(decay.terms["initial"].sample, kd.dirichlet(3.0), count=1)
    for model in (
        train(decay, terms={"initial": other}),
        train(replace(decay, reference=lambda c: 1 / 0)),
    ):
        assert np.isnan(model.training[-1].relative_l2)
        assert kd.diagnose(model.training) == ()
    more_points = replace(decay.terms["residual"], count=40)
    assert train(decay, terms={"residual": more_points}).training[-1].relative_l2 < 1e-3
    with_data = train(decay, terms={"data": kd.data(np.array([[0.5]]), np.exp([[-0.5]]))})
    assert with_data.training[-1].relative_l2 < 1e-3


def test_a_missed_condition_is_named(decay):
    """u' = 0, u(0) = 9 and u(1) = 0: the least squares of equal weights is u = 6 − 3t, which misses both by 3."""
    equation = kd.Term(kd.box((0,), (1,)), lambda u, z, c: kd.derivative(u, 0)(z), count=32)
    end = kd.Term(kd.box((1,), (1,)), kd.dirichlet(0.0), count=1)
    initial = kd.Term(kd.box((0,), (0,)), kd.dirichlet(9.0), count=1)
    problem = replace(decay, reference=None, terms={"residual": equation, "initial": initial, "end": end})
    report = train(problem, ADAPTIVE, weights={"initial": 1.0, "end": 1.0}).training[-1]
    assert report.terms["initial"].rms == pytest.approx(3, abs=0.05)
    *_, initial, end = kd.diagnose((report,))
    assert initial.startswith("condition 'initial' is missed by 33 %")
    assert "weights={'initial': 10}" in initial
    assert end.startswith("condition 'end' is missed by")


def test_the_scale_of_a_condition(heat):
    """A prescribed value is its own scale; a condition that sets a quantity to zero has the size of that quantity."""
    exact = heat.reference(heat.coefficients)
    slope = kd.Term(kd.faces((0, 0), (1, 1), axes=(1,)), kd.neumann(0.0, axis=1), count=64)
    disguised = kd.Term(kd.faces((0, 0), (1, 1), axes=(1,)), kd.dirichlet(lambda z, c: exact(z)), count=64)
    measured = kd.data(np.array([[0.5, 0.5]]), np.array([[0.3]]))
    problem = replace(heat, ansatz=lambda net, z, c: 0 * net(z) + exact(z))
    target = kd.objective(problem, kd.MLP((2,)), terms={"slope": slope, "disguised": disguised, "measured": measured})
    reports = term_reports(target, kd.init_params(problem, target.network, KEY), kd.Sampling())
    scales = {name: report.scale for name, report in reports.items()}
    t = np.linspace(0, 1, 1001)
    decayed = np.sqrt(np.mean(np.exp(-2 * 0.1 * np.pi**2 * t)) / 2)  # the root mean square of u
    assert scales["initial"] == pytest.approx(np.sqrt(0.5), rel=0.05)
    assert scales["boundary"] == pytest.approx(decayed, rel=0.3)
    assert scales["disguised"] == pytest.approx(decayed, rel=0.3)
    assert scales["slope"] == pytest.approx(np.pi * decayed, rel=0.3)
    assert np.isnan(scales["residual"])
    assert np.isnan(scales["measured"])
    assert {name for name, report in reports.items() if report.measured} == {"measured"}
    assert reports["slope"].rms > 1
    assert reports["boundary"].rms < 1e-14


def test_overfitting(decay):
    """Two points and 19 parameters: the loss falls at the points alone."""
    few = {"residual": replace(decay.terms["residual"], count=2)}
    quiet = replace(decay, reference=None)
    (warning,) = kd.diagnose(train(quiet, terms=few).training)
    assert "mostly in 'residual': the network fits its points and not the equation" in warning
    assert "sampling=Sampling(every=10, adaptive=('residual',)) in the last stage" in warning
    assert "count=8" in warning
    report = train(quiet, terms=few).training[-1]
    adaptive = {name: term._replace(adaptive=name == "residual") for name, term in report.terms.items()}
    (warning,) = kd.diagnose((replace(report, terms=adaptive),))
    assert "Sampling" not in warning
    assert "count=8" in warning


def test_no_progress_names_the_term_that_stays_large(decay):
    warning, *_ = kd.diagnose(train(decay, kd.Adam(60, 1e-9)).training)
    assert warning.startswith("no progress: the loss fell only from")
    assert "time_budget=60" in warning
    assert "weights={'initial': 10}" in warning or "weights={'residual': 10}" in warning


def test_the_noise_of_data_is_no_lack_of_progress(decay):
    """The loss starts and ends at the noise of the data, whose size is 20: the network has nothing else to learn."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 200)[:, None]
    noisy = kd.data(t, np.exp(-t) + 20 * rng.choice([-1.0, 1.0], size=t.shape))
    model = train(decay, terms={"data": noisy}, weights={"data": 1e-3})
    (warning,) = kd.diagnose(model.training)
    assert "no progress" not in warning
    assert "'data', whose values differ from the solution by 2.0e+01" in warning
    assert "weights={'data': 0.01}" in warning


def test_terms_survive_a_file(decay, tmp_path):
    model = train(replace(decay, reference=lambda c: lambda z: 0.5 * jnp.exp(-z)))
    kd.save(model, tmp_path / "m.safetensors")
    loaded = kd.load(tmp_path / "m.safetensors", problem=decay)
    assert loaded.training[-1].terms.keys() == {"residual", "initial"}
    assert kd.diagnose(loaded.training) == kd.diagnose(model.training) != ()
