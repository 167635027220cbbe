"""Parametric problems: exact solutions, agreement of members with the plain problem, files, serving and commands."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import greeks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from jax.scipy.stats import norm

import kdpinn_jax as kd
from kdpinn_jax.cli import main
from kdpinn_jax.evaluation import plots
from kdpinn_jax.models.grids import GRID, MEMBERS
from kdpinn_jax.models.metrics import Metrics
from kdpinn_jax.serving.export.c import export_c

BLACK_SCHOLES = kd.parametric(kd.problems.ALL["black_scholes"], sigma=(0.1, 0.5), r=(0.0, 0.1))
BURGERS = kd.parametric(kd.problems.ALL["burgers"], nu=(0.005, 0.05))
FAMILIES = [BLACK_SCHOLES, BURGERS]
#: The accuracy of the references, as in test_problems.
ACCURACY = {"black_scholes": 1e-11, "burgers": 1e-9}
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.fixture(scope="module")
def decays(decay):
    """u' = −k u over a range of k: the cheapest family."""
    return kd.parametric(decay, k=(0.5, 2.0))


def root_mean_square(values):
    return float(np.sqrt(np.mean(np.sum(np.asarray(values).reshape(len(values), -1) ** 2, axis=1))))


# The problem ----------------------------------------------------------------------------------------------------------


def test_attributes_of_a_family():
    assert BLACK_SCHOLES.axes == ("t", "S", "sigma", "r")
    assert (BLACK_SCHOLES.lower, BLACK_SCHOLES.upper) == ((0, 0, 0.1, 0), (1, 3, 0.5, 0.1))
    assert (BLACK_SCHOLES.family, BLACK_SCHOLES.coordinates, BLACK_SCHOLES.coefficients) == (("sigma", "r"), 2, {})
    assert BLACK_SCHOLES.logarithmic == (2,)  # sigma varies by a factor of five; r starts at 0
    assert BLACK_SCHOLES.bound is None
    repeated = kd.parametric(kd.problems.ALL["black_scholes"], sigma=(0.1, 0.5), r=(0.0, 0.1))
    assert repeated is BLACK_SCHOLES
    assert kd.parametric(kd.problems.ALL["black_scholes"], sigma=(0.1, 0.4)).coefficients == {"r": 0.05}


@each_family
def test_exact_solution_satisfies_the_terms_at_every_member(family):
    soft = kd.with_conditions(family, "soft")
    exact = soft.reference(soft.coefficients)

    @jax.jit
    def residuals(key):
        return {
            name: jax.vmap(lambda z, term=term: term.residual(exact, z, soft.coefficients))(term.sample(key, 64))
            for name, term in soft.terms.items()
        }

    slopes = jax.jit(jax.vmap(jax.jacfwd(exact)))(family.terms["residual"].sample(jax.random.key(0), 64))
    for name, residual in residuals(jax.random.key(0)).items():
        assert root_mean_square(residual) < ACCURACY[family.name] * (1 + root_mean_square(slopes)), name


@each_family
def test_hard_conditions_hold_at_every_member(family, untrained):
    u = untrained(family, 3, kd.MLP((6,))).field

    @jax.jit
    def residuals(key):
        return {
            name: jax.vmap(lambda z, term=term: term.residual(u, z, family.coefficients))(term.sample(key, 40))
            for name, term in family.terms.items()
        }

    values = residuals(jax.random.key(1))
    for name in family.enforced:
        assert float(jnp.max(jnp.abs(values[name]))) < 1e-12, name
    assert root_mean_square(values["residual"]) > 1e-3


def test_derivatives_along_the_coefficients_are_vega_and_rho():
    z = np.asarray(BLACK_SCHOLES.terms["residual"].sample(jax.random.key(2), 64))
    exact = BLACK_SCHOLES.reference({})
    slopes = np.asarray(jax.jit(jax.vmap(jax.jacfwd(exact)))(jnp.asarray(z)))[:, 0]
    t, s, sigma, r = z.T
    d1 = (np.log(s) + (r + sigma**2 / 2) * (1 - t)) / (sigma * np.sqrt(1 - t))
    vega = s * norm.pdf(d1) * np.sqrt(1 - t)
    np.testing.assert_allclose(slopes[:, 2], vega, atol=1e-12)
    rho = (1 - t) * np.exp(-r * (1 - t)) * norm.cdf(d1 - sigma * np.sqrt(1 - t))
    np.testing.assert_allclose(slopes[:, 3], rho, atol=1e-12)


@each_family
def test_member_agrees_with_the_plain_problem(family, untrained):
    """The residual of a parametric model at fixed coefficients equals that of the same field in the plain problem."""
    plain = kd.problems.ALL[family.name]
    model = untrained(family, 5, kd.MLP((6,)))
    values = 0.3 * np.asarray(family.lower) + 0.7 * np.asarray(family.upper)
    fixed = jnp.asarray(values[family.coordinates :])
    coefficients = dict(plain.coefficients) | dict(zip(family.family, fixed, strict=True))
    z = plain.terms["residual"].sample(jax.random.key(0), 16)
    rows = jnp.concatenate([z, jnp.tile(fixed, (16, 1))], axis=1)
    family_residual = lambda row: family.terms["residual"].residual(model.field, row, family.coefficients)
    member = lambda z: model.field(jnp.concatenate([z, fixed]))
    plain_residual = lambda z: plain.terms["residual"].residual(member, z, coefficients)
    expected = jax.jit(jax.vmap(plain_residual))(z)
    np.testing.assert_allclose(jax.jit(jax.vmap(family_residual))(rows), expected, rtol=1e-9, atol=1e-12)


@each_family
def test_coefficients_fill_their_ranges_independently_of_the_coordinates(family):
    d = family.coordinates
    for name, term in family.terms.items():
        z = np.asarray(term.sample(jax.random.key(4), 1024))
        assert np.all((z >= family.lower) & (z <= family.upper)), name
        unit = np.asarray(jax.vmap(kd.scale_to_unit(family.lower, family.upper, logarithmic=family.logarithmic))(z))
        varied = unit[:, np.ptp(z, axis=0) > 0]
        correlation = np.corrcoef(varied.T) - np.eye(varied.shape[1])
        assert np.abs(correlation).max() < 0.02, name
        np.testing.assert_allclose(
            unit[:, d:].mean(axis=0), 0, atol=0.01
        )  # half of them lie below the (geometric) middle
        np.testing.assert_allclose(unit[:, d:].std(axis=0), 1 / np.sqrt(3), rtol=0.01)
        # Coordinate and coefficient together are one even set: each of sixteen cells holds about 64 points.
        cells = np.histogram2d(varied[:, 0], unit[:, -1], bins=4)[0]
        assert cells.min() >= 56, name
        assert cells.max() <= 72, name


def test_data_columns_follow_the_coefficients(decay):
    """The residual of a member receives the additional columns of its rows directly after the coordinates."""
    measured = kd.data(np.array([[0.2], [0.4]]), np.array([[2.0], [3.0]]))
    family = kd.parametric(replace(decay, terms=dict(decay.terms) | {"data": measured}), k=(0.5, 2.0))
    rows = family.terms["data"].sample(jax.random.key(0), 2)
    assert rows.shape == (2, 3)
    np.testing.assert_array_equal(rows[:, [0, 2]], [[0.2, 2.0], [0.4, 3.0]])
    residual = family.terms["data"].residual(lambda z: z[:1] + 10 * z[1:], rows[0], {})
    np.testing.assert_allclose(residual, 0.2 + 10 * rows[0, 1:2] - 2.0)


def test_soft_conditions_preserve_logarithmic_scaling():
    soft = kd.with_conditions(BURGERS, "soft")
    assert soft.conditions == "soft"
    assert (soft.ansatz, soft.embed, soft.family) == (None, None, ("nu",))
    middle = jnp.array([0.5, 0.0, np.sqrt(0.005 * 0.05)])
    np.testing.assert_allclose(soft.embedding(middle), 0, atol=1e-12)
    np.testing.assert_allclose(BURGERS.embedding(middle)[2], 0, atol=1e-12)
    np.testing.assert_allclose(soft.embedding(jnp.asarray(BURGERS.upper)), 1, atol=1e-12)
    assert BURGERS.embedding(middle).shape == (3,)


def test_family_of_a_family(decay):
    problem = replace(decay, coefficients={"k": 1.0, "c": 2.0})
    direct = kd.parametric(problem, k=(0.5, 2.0), c=(1, 9))
    nested = kd.parametric(kd.parametric(problem, k=(0.5, 2.0)), c=(1, 9))
    for name in ("axes", "lower", "upper", "family", "coefficients", "logarithmic"):
        assert getattr(nested, name) == getattr(direct, name)
    z = jnp.array([0.3, 0.7, 4.0])
    u = lambda z: z[:1] * z[1:2] ** 2
    for family in (direct, nested):
        np.testing.assert_allclose(family.terms["residual"].residual(u, z, {}), 0.49 + 0.7 * 0.3 * 0.49)


@pytest.mark.parametrize("name", ["allen_cahn", "kuramoto_sivashinsky"])
def test_numerical_solution_of_one_equation_is_not_a_reference(name):
    problem = kd.problems.ALL[name]
    coefficient, value = next(iter(problem.coefficients.items()))
    assert kd.parametric(problem, **{coefficient: (0.5 * value, 2 * value)}).reference is None


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({}, "no coefficient is named; give a range, such as nu="),
        ({"mu": (0.01, 0.02)}, "coefficient 'mu' is unknown to problem 'burgers'; Known: nu"),
        ({"nu": (0.02, 0.01)}, r"nu=\(0.02, 0.01\) must be two finite numbers, the lower one first"),
        ({"nu": (0.01, 0.01)}, "the lower one first"),
        ({"nu": (0.01, np.inf)}, "two finite numbers"),
        ({"nu": (0.01, np.nan)}, "two finite numbers"),
        ({"nu": 0.01}, "two finite numbers"),
        ({"nu": (0.01, 0.02, 0.03)}, "two finite numbers"),
    ],
)
def test_invalid_ranges(ranges, message, unchecked):
    with pytest.raises(ValueError, match=message):
        kd.parametric(kd.problems.ALL["burgers"], **ranges)


# Models ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_teacher_and_student_of_a_family(decays):
    stages = (kd.LevenbergMarquardt(40),)
    options = {"stages": stages, "network": kd.MLP((8,)), "progress": False}
    teacher = kd.train_teacher(decays, jax.random.key(0), track_error=True, **options)
    student = kd.distill(teacher, jax.random.key(1), **options)
    metrics = kd.evaluate(student)
    assert metrics.relative_l2 < 1e-3
    assert "relative_l2" in teacher.training[0].history
    assert len(metrics.members) == MEMBERS[1]
    z = np.stack([np.linspace(0, 1, GRID[1]), np.full(GRID[1], 0.5)], axis=1)
    exact = np.exp(-0.5 * z[:, 0])
    relative_l2 = np.linalg.norm(np.asarray(student(z))[:, 0] - exact) / np.linalg.norm(exact)
    (member,) = [member for member in metrics.members if member.coefficients == {"k": 0.5}]
    assert member.errors.relative_l2 == pytest.approx(relative_l2, rel=1e-9)
    assert member in metrics.corners
    estimate = kd.error_estimate(student)
    assert estimate.kind == "estimate"
    assert "no bound is known for a family of problem 'decay'" in estimate.assumptions[0]
    assert kd.true_error(student, estimate.norm) / 10 < estimate.value < 10 * kd.true_error(student, estimate.norm)


@pytest.mark.slow
def test_evaluate_extends_space_and_ranks_the_members(heat, untrained):
    """A field whose error is α everywhere, so that the errors of all members and of each are known."""
    family, calls = kd.parametric(heat, alpha=(0.01, 0.1)), []

    def shifted_by_alpha(z):
        calls.append(z)
        return np.exp(-z[:, 2:] * np.pi**2 * z[:, :1]) * np.sin(np.pi * z[:, 1:2]) + z[:, 2:]

    metrics = kd.evaluate(untrained(family), predict=shifted_by_alpha)
    assert [(tuple(z.min(axis=0)), tuple(z.max(axis=0))) for z in calls] == [
        ((0, 0, 0.01), (1, 1, 0.1)),
        ((0, 1, 0.01), (1, 1.1, 0.1)),
        ((0, 1, 0.01), (1, 1.5, 0.1)),
    ]
    assert [member.errors.max_error for member in metrics.members] == pytest.approx(np.geomspace(0.1, 0.01, 9))
    assert [member.coefficients["alpha"] for member in metrics.corners] == [0.1, 0.01]
    assert Metrics.from_dict(json.loads(json.dumps(metrics.as_dict()))) == metrics
    without_members = {name: value for name, value in metrics.as_dict().items() if name != "members"}
    assert Metrics.from_dict(without_members).members == ()


@each_family
def test_loaded_model_equals_the_saved_one(family, untrained, tmp_path):
    for conditions in ("hard", "soft"):
        model = untrained(kd.with_conditions(family, conditions), 1, kd.MLP((5,)))
        kd.save(model, tmp_path / "m.safetensors")
        loaded = kd.load(tmp_path / "m.safetensors")
        assert (loaded.problem.axes, loaded.problem.family, loaded.problem.conditions) == (
            family.axes,
            family.family,
            conditions,
        )
        z = np.random.default_rng(0).uniform(family.lower, family.upper, (7, len(family.axes)))
        np.testing.assert_array_equal(loaded(z), model(z))
    assert kd.load(tmp_path / "m.safetensors").problem is loaded.problem


def test_files_of_a_problem_that_is_not_shipped(decay, decays, untrained, tmp_path):
    model = untrained(decays)
    kd.save(model, tmp_path / "m.safetensors")
    for problem in (decay, decays):  # the single equation or the family
        assert kd.load(tmp_path / "m.safetensors", problem=problem).problem is decays
    with pytest.raises(kd.ModelFileError, match="upper is"):
        kd.load(tmp_path / "m.safetensors", problem=kd.parametric(decay, k=(0.5, 3.0)))
    kd.save(untrained(decay), tmp_path / "plain.safetensors")
    with pytest.raises(kd.ModelFileError, match="axes is"):
        kd.load(tmp_path / "plain.safetensors", problem=decays)


@pytest.mark.slow
@each_family
def test_compiled_prediction_and_derivatives(family, untrained):
    model = untrained(family, 2, kd.MLP((6,)))
    names = ("V", "V_S", "V_sigma", "V_r") if family is BLACK_SCHOLES else ("u", "u_x", "u_nu")
    z = np.random.default_rng(0).uniform(family.lower, family.upper, (5, len(family.axes)))
    predicted = kd.compile_predict(model, dtype=np.float64, derivatives=names)(z)
    slopes = np.asarray(jax.vmap(jax.jacfwd(model.field))(jnp.asarray(z)))[:, 0]
    np.testing.assert_allclose(predicted[:, 0], np.asarray(model(z))[:, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(predicted[:, 1:], slopes[:, 1 : len(names)], rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="no C compiler")
@each_family
def test_c_export_agrees_with_the_model(family, untrained, tmp_path):
    for conditions in ("hard", "soft"):
        model = untrained(kd.with_conditions(family, conditions), 3, kd.MLP((6,)))
        _, source = export_c(model, tmp_path / conditions)
        program, macro = tmp_path / "selftest", f"-D{family.name.upper()}_SELFTEST"
        for real in ([], [f"-D{family.name.upper()}_DOUBLE"]):
            subprocess.run(["gcc", "-std=c99", "-O1", macro, *real, source, "-o", program, "-lm"], check=True)
            output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
            assert "FAILED" not in output


def test_windows_of_a_family(decays, untrained):
    """For every member, the next window starts from the final state of the previous one."""
    before = untrained(decays)
    term = kd.initial_from(before)
    rows = np.asarray(term.sample(jax.random.key(0), 8))
    np.testing.assert_allclose(rows[:, 0], 0)
    later = lambda z: before.field(z + jnp.array([1.0, 0.0]))
    misfits = jax.vmap(lambda row: term.residual(later, row, before.coefficients))(jnp.asarray(rows))
    np.testing.assert_allclose(misfits, 0, atol=1e-14)
    z = np.array([[0.25, 0.7], [1.25, 1.9]])
    expected = np.concatenate([before(z[:1]), before(z[1:] - [1.0, 0.0])])
    np.testing.assert_allclose(kd.predict_windows([before, before], z), expected, rtol=1e-12)


# Plots and the command line -------------------------------------------------------------------------------------------


def test_plot_shows_the_middle_of_the_ranges(untrained, tmp_path, monkeypatch):
    calls, titles = [], []
    monkeypatch.setattr("kdpinn_jax.evaluation.plots._RESOLUTION", 9)
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda self, text: titles.append(text))
    model = untrained(BLACK_SCHOLES, 0, kd.MLP((4,)))
    monkeypatch.setattr(kd.Model, "__call__", lambda self, z: calls.append(z) or np.zeros((len(z), 1)))
    plots.solution({"student": model}, tmp_path / "p.png")
    assert titles == ["black_scholes: V at sigma = 0.2236, r = 0.05"]
    np.testing.assert_allclose(calls[0][:, 2:], np.tile([np.sqrt(0.05), 0.05], (81, 1)))


@pytest.mark.slow
def test_command_line(untrained, tmp_path, monkeypatch):
    monkeypatch.setattr("kdpinn_jax.training.recipes._second_order", lambda *_: (kd.Adam(2),))

    def call(*arguments):
        return CliRunner().invoke(main, list(map(str, arguments)))

    teacher, student = tmp_path / "teacher.safetensors", tmp_path / "student.safetensors"
    ranges = ["--range", "sigma=0.1,0.5", "--range", "r=0,0.1", "--layers", "4", "--quiet"]
    result = call("train", "black_scholes", *ranges, "--out", teacher)
    assert result.exit_code == 0, result.output
    assert "worst member" in result.stdout
    assert "worst corner" in result.stdout
    monkeypatch.setattr("kdpinn_jax.runs.run.diagnose", lambda _: ("not to be imitated",))
    result = call("distill", teacher, "--layers", "4", "--quiet", "--json", "--out", student)
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["members"]) == 25
    assert kd.load(student).problem is BLACK_SCHOLES
    (tmp_path / "in.csv").write_text("r,sigma,S,t\n0.05,0.2,1,0\n0.05,0.7,1,0\n")
    result = call("predict", student, "--points", tmp_path / "in.csv", "--out", tmp_path / "out.csv")
    assert "1 of 2 points lie outside" in result.stderr
    for form in ("c", "onnx", "stablehlo"):
        assert call("export", student, "--format", form, "--out", tmp_path).exit_code == 0, form
    assert call("plot", student, "--out", tmp_path / "p.png").exit_code == 0
    plain = tmp_path / "plain.safetensors"
    kd.save(untrained(kd.problems.ALL["black_scholes"], 0, kd.MLP((4,))), plain)
    assert "the models differ in problem" in call("plot", student, plain, "--out", tmp_path / "p.png").stderr


def test_documentation_shows_the_measured_tables():
    shown = dict(re.findall(r"<!-- table: (.*?) -->\n(.*?)\n<!-- end of table -->", greeks.PAGE.read_text(), re.DOTALL))
    assert shown == greeks.tables(json.loads(greeks.RESULT.read_text()))


def test_closed_form_of_the_benchmark_agrees_with_derivatives_of_the_reference():
    z = np.random.default_rng(1).uniform(BLACK_SCHOLES.lower, BLACK_SCHOLES.upper, (32, 4))
    exact = BLACK_SCHOLES.reference({})

    def value_and_greeks(z):
        slopes = jax.jacfwd(exact)(z)[0]
        return jnp.stack(
            [exact(z)[0], slopes[1], kd.two_derivatives(exact, z, 1)[2][0], slopes[2], slopes[0], slopes[3]]
        )

    expected = np.asarray(jax.jit(jax.vmap(value_and_greeks))(jnp.asarray(z)))
    np.testing.assert_allclose(greeks.values(greeks.by_numpy(True), z), expected, rtol=1e-9, atol=1e-12)
    for greek in greeks.errors(expected + 0.5, expected).values():
        assert greek["max"] == pytest.approx(0.5)
        assert greek["rms"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--range", "nu=0.01"], "'nu=0.01' is not NAME=LOW,HIGH with LOW below HIGH, such as nu=0.005,0.05"),
        (["--range", "nu=0.02,0.01"], "is not NAME=LOW,HIGH with LOW below HIGH"),
        (["--range", "nu=0.01,inf"], "is not NAME=LOW,HIGH with LOW below HIGH"),
        (["--range", "mu=0.01,0.02"], "coefficient 'mu' is unknown to problem 'burgers'; Known: nu"),
        (["--range", "nu=0.01,0.02", "--range", "nu=1,2"], "range 'nu' is given twice"),
        (["--range", "nu=0.01,0.02", "--coefficient", "nu=1"], "coefficient 'nu' is an input of this model"),
    ],
)
def test_invalid_ranges_on_the_command_line(arguments, message, tmp_path):
    result = CliRunner().invoke(main, ["train", "burgers", *arguments, "--out", str(tmp_path / "m.safetensors")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
