"""The studies compute correct quantities from known data, and their pages show the stored results."""

import importlib
import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _study import PAGES, RESULTS, by, run, spread
from _tables import put

import kdpinn_jax as kd

STUDIES = (
    "distillation",
    "kd_weight",
    "gradients",
    "extrapolation",
    "bad_teacher",
    "stiff",
    "chaotic",
    "error_estimate",
    "where_the_time_goes",
    "hardware",
)


def study(name):
    return importlib.import_module(name)


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_shows_the_stored_results(name):
    """The study's code reproduces every table of its page from the results of five seeds in the repository."""
    definition = study(name).STUDY
    folder = RESULTS / (definition.folder or name)
    page = (PAGES / f"{name}.md").read_text()
    cases = definition.cases((0, 1, 2, 3, 4), False)
    paths = sorted(folder.glob("*.json")) if definition.folder is None else [folder / f"{case}.json" for case in cases]
    order = {case: i for i, case in enumerate(cases)}
    paths.sort(key=lambda path: order.get(str(path.relative_to(folder).with_suffix("")), len(order)))
    results = {str(path.relative_to(folder).with_suffix("")): json.loads(path.read_text()) for path in paths}
    assert len(results) >= len(cases)
    tables = definition.tables(results)
    page_tables = dict(re.findall(r"<!-- table: (.*?) -->\n(.*?)\n<!-- end of table -->", page, re.DOTALL))
    assert page_tables == dict(tables)
    assert f"study-{name}.png" in page


def test_cases_that_have_a_result_are_not_run_again(tmp_path):
    calls = []
    cases = {name: lambda name=name: calls.append(name) or {"n": len(calls)} for name in ("a", "b")}
    run({"a": cases["a"]}, tmp_path)
    run(cases, tmp_path)
    assert calls == ["a", "b"]
    assert json.loads((tmp_path / "b.json").read_text())["n"] == 2


def test_only_the_table_between_its_markers_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: a -->\nold\n<!-- end of table -->\nafter\n")
    put("| new \\1 |", "a", page)
    assert page.read_text() == "before\n<!-- table: a -->\n| new \\1 |\n<!-- end of table -->\nafter\n"
    with pytest.raises(ValueError, match="found 0 places for the table 'b'"):
        put("| new |", "b", page)


def test_spread_and_grouping():
    assert spread([3.0, 1.0, 2.0], ".0f") == "2 (1 … 3)"
    assert spread([np.inf, 1.0, None], ".0f") == "– (1 … –)"
    assert list(by({"x": {"a": 1, "b": 2}, "y": {"a": 3, "b": 2}}, "b")) == [(2,)]


CURVE = {"curve": {"seconds": [1.0, 2.0, 4.0], "step": [10, 20, 40], "relative_l2": [0.5, None, 0.01]}}


def test_reading_a_curve():
    at, seconds_to = study("distillation").at, study("distillation").seconds_to
    assert at(CURVE, "seconds", 1.5) == 0.5
    assert at(CURVE, "step", 40) == 0.01
    assert at(CURVE, "seconds", 0.5) == np.inf
    assert seconds_to(CURVE, 0.1) == 4.0
    assert seconds_to(CURVE, 1e-3) == np.inf


def test_oscillation_counts_only_increases():
    oscillation = study("kd_weight").oscillation
    assert oscillation(np.array([100.0, 10.0, 1.0, 1.0])) == 0
    # An increase by one decade within two intervals of five steps is a hundred decades per thousand steps.
    assert oscillation(np.array([1.0, 10.0, 1.0])) == pytest.approx(100)
    assert oscillation(np.array([1.0])) == 0


@pytest.fixture(scope="module")
def teachers(decay, untrained):
    return untrained(decay, 1), untrained(decay, 2)


@pytest.mark.slow
def test_a_zero_weight_switches_the_teacher_off(teachers):
    """Students of different teachers have the same parameters, unless one of the soft-target terms has a weight."""
    kd_weight = study("kd_weight")
    recipe = kd_weight.Recipe("soft", (), (), (kd.Adam(3),))
    params = [
        [kd_weight.student_of(teacher, recipe, weights, jax.random.key(0)).params for teacher in teachers]
        for weights in ((0.0, 0.0), (1.0, 0.0))
    ]
    without, with_teacher = (
        [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(p)]) for p in pair] for pair in params
    )
    np.testing.assert_array_equal(*without)
    assert np.abs(with_teacher[0] - with_teacher[1]).max() > 1e-6


@pytest.mark.slow
def test_a_student_with_soft_targets_alone_is_trained_without_physics(teachers):
    student = study("distillation").teacher_only(teachers[0], jax.random.key(0), 600.0, steps=30)
    assert set(student.training[0].history) == {"loss", "soft_target", "relative_l2"}
    z = np.linspace(0, 1, 50)[:, None]
    assert float(jnp.abs(student(z) - teachers[0](z)).max()) < 1e-2


def test_noise_has_the_given_standard_deviation(teachers):
    noisy = study("bad_teacher").noisy
    term = kd.soft_target(teachers[0], count=20_000)
    rows, clean = (t.sample(jax.random.key(0), t.count) for t in (noisy(term, 1, 0.25), term))
    assert set(np.asarray(rows[:, 0])) <= {*np.asarray(clean[:, 0])} or len(rows) == len(clean)
    noise = np.asarray(rows[:, 1:] - teachers[0](rows[:, :1]))
    assert noise.std() == pytest.approx(0.25, rel=0.03)
    assert abs(noise.mean()) < 0.01


def test_a_student_with_the_errors_of_its_teacher_extrapolates_as_well():
    extrapolation = study("extrapolation")
    same = {"rmse": 1.0, "extrapolation": {"mild right": 0.3, "hard right": 2.0}}
    result = {"problem": "p", "teacher": same, "students": {"imitate, then physics": same, "no teacher": same}}
    for region in extrapolation.REGIONS:
        assert extrapolation.ratios([result, result], "student", region) == [1.0, 1.0]
    assert extrapolation.tables({"a": result})["extrapolation"].count("better in 0 of 1") == 4


@pytest.mark.slow
def test_shares_of_the_gradient_add_up_to_one(teachers, decay, untrained):
    gradients = study("gradients")
    target = kd.objective(
        decay,
        decay.student,
        terms={"soft_target": kd.soft_target(teachers[0], count=8)},
        weights={"soft_target": 1.0},
    )
    params = untrained(decay, 3, decay.student).params
    result = gradients.look(target, params, jax.random.key(0))
    assert sum(result["shares"].values()) == pytest.approx(1, abs=1e-12)
    assert -1 <= result["cosine"] <= 1
    without_teacher = replace(target, weights=target.weights | {"soft_target": 0.0})
    result = gradients.look(without_teacher, params, jax.random.key(0))
    assert result["shares"]["soft_target"] == pytest.approx(0)


def test_speed_ups_are_relative_to_the_teacher():
    where_the_time_goes = study("where_the_time_goes")
    names = where_the_time_goes.ENGINES
    engines = {engine: {"teacher": 10.0 * i, "student": 2.0 * i} for i, engine in enumerate(names, 1)}
    result = {
        "microseconds": {"1": engines},
        "limit": {"teacher": 100.0, "student": 25.0},
        "parameters": {"teacher": 5301, "student": 921},
    }
    tables = where_the_time_goes.tables({"0": result, "1": result})
    assert tables["N = 1: networks"].count("(5×)") == len(names)
    assert "(4×)" in tables["N = 1: networks"]
    last_row = tables["N = 1: overall"].splitlines()[-1]
    assert f"student, {names[-1]}" in last_row
    assert "| 1 (1 … 1) |" in last_row  # 10 µs of the first engine divided by 2 × 5 µs
