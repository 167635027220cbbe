"""The search for the smallest student: fronts and choices by hand, and one small search from end to end."""

import dataclasses
import json
import signal

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given

import kdpinn_jax as kd
from kdpinn_jax.cli import main
from kdpinn_jax.evaluation import plots
from kdpinn_jax.runs import search as _search
from kdpinn_jax.runs.search import Candidate, choose, promising
from kdpinn_jax.training import batch as _batch


def made(*pairs):
    return [Candidate(str(i), None, error, latency, 1) for i, (error, latency) in enumerate(pairs)]


def names(candidates):
    return "".join(candidate.name for candidate in candidates)


def test_promising():
    """0 and 2 are beaten by none; 1 by 2 alone; 3 by all but 0. A front that does not fit is thinned evenly."""
    candidates = made((1e-1, 1.0), (1e-2, 3.0), (1e-2, 2.0), (2e-2, 9.0))
    assert [names(promising(candidates, count)) for count in (1, 2, 3, 4, 9)] == ["2", "20", "201", "2013", "2013"]
    assert names(promising(made(*((1 / n, n) for n in range(1, 8))), 3)) == "630"


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=12))
def test_nobody_beats_the_front(pairs):
    candidates = made(*pairs)
    front = _search._front(candidates)
    beats = lambda a, b: a.error <= b.error and a.latency <= b.latency and (a.error, a.latency) != (b.error, b.latency)
    assert not any(beats(other, one) for one in front for other in candidates)
    for other in candidates:
        assert other in front or any(one.error <= other.error and one.latency <= other.latency for one in front)
    ordered = promising(candidates, len(candidates))
    assert sorted(names(ordered)) == sorted(names(candidates))
    assert set(names(ordered[: len(front)])) == set(names(front))


@pytest.mark.parametrize(
    ("max_error", "max_latency", "name", "miss"),
    [
        (2e-2, None, "1", 0.5),  # the cheapest within the error
        (2e-2, 2.0, "1", 1.0),
        (None, 2.0, "1", 1.0),  # the most accurate within the latency
        (None, None, "2", 0.0),
        (1e-3, 1.0, "2", 4.0),  # nobody: the smallest factor
        (1e-4, None, "2", 10.0),
    ],
)
def test_choice(max_error, max_latency, name, miss):
    chosen, factor = choose(made((1e-1, 1.0), (1e-2, 2.0), (1e-3, 4.0)), kd.Budget(max_error, max_latency))
    assert chosen.name == name
    assert factor == pytest.approx(miss)


@pytest.mark.slow
def test_a_search(decay, untrained, tmp_path, monkeypatch):
    """The larger network is more accurate, latencies are told by hand; halving leaves the front in the end."""
    told = {"teacher": 8.0, "tanh-1": 1.0, "tanh-4": 2.0, "tanh-3-3": 4.0, "tanh-1-1": 3.0}
    monkeypatch.setattr(_search, "_latency", lambda *_: told)
    halving = kd.SuccessiveHalving((1, 2), steps=8, imitate=(kd.LevenbergMarquardt(4),))
    teacher, lines = untrained(decay, 1), []
    family = kd.NetworkFamily(widths=(1, 4), depths=(1,))
    words = {"family": family, "halving": halving, "checkpoint": kd.Checkpoint(tmp_path / "c")}
    found = kd.search(teacher, kd.Budget(max_error=1e-9), **words, say=lines.append)
    assert [candidate.name for candidate in found.candidates] == ["tanh-1", "tanh-4"]
    assert found.chosen.name == "tanh-4"
    assert found.miss == pytest.approx(found.chosen.error / 1e-9)  # nobody is so good: the nearest is
    assert found.chosen.error == pytest.approx(kd.evaluate(found.chosen.model).relative_l2)
    rows = found.rows()
    assert [row["times_cheaper"] for row in rows] == [8.0, 4.0, 1.0]
    assert [row["role"] for row in rows] == ["front", "front", "teacher"]
    assert json.dumps(rows)
    assert lines[0].startswith("timing 2 networks and the teacher")
    assert lines[1].startswith("rung 1 of 2: 2 networks")
    assert lines[2].startswith("rung 2 of 2: 1 networks")
    monkeypatch.setattr(_batch.BatchRunner, "advance", None)  # what had ended is read back, and not trained again
    again = kd.search(teacher, kd.Budget(max_error=1e-9), **words)
    jax.tree.map(np.testing.assert_array_equal, again.chosen.model.params, found.chosen.model.params)
    plots.front(rows, tmp_path / "front.png", engine="c", points=9)
    assert (tmp_path / "front.png").stat().st_size > 5000


def test_errors(decay, untrained):
    for invalid, expected in (
        (lambda: kd.Budget(max_error=0.0), r"max_error=0\.0 must be positive"),
        (lambda: kd.Budget(engine="gpu"), "engine='gpu' is unknown; use jit or c"),
        (lambda: kd.NetworkFamily(widths=()), "is empty"),
        (lambda: kd.SuccessiveHalving(keep=0.0), "must be greater than 0"),
        (lambda: kd.SuccessiveHalving(seeds=()), "is empty"),
        (lambda: kd.search(untrained(dataclasses.replace(decay, reference=None))), "has no reference solution"),
    ):
        with pytest.raises(ValueError, match=expected):
            invalid()


def test_a_search_that_goes_on_keeps_its_latencies(decay, untrained, tmp_path):
    """Measured anew they would differ, and others would be trained on."""
    (tmp_path / "latency.json").write_text('{"teacher": 2.0, "tanh-4": 1.0}')
    found = _search._latency(untrained(decay), {"tanh-4": kd.MLP((4,))}, kd.Budget(points=16), kd.Checkpoint(tmp_path))
    assert found == {"teacher": 2.0, "tanh-4": 1.0}


@pytest.mark.slow
def test_latency_of_a_problem_of_ones_own(decay, untrained, tmp_path):
    """It cannot be loaded by another process; and it is kept."""
    found = _search._latency(untrained(decay), {"tanh-4": kd.MLP((4,))}, kd.Budget(points=16), kd.Checkpoint(tmp_path))
    assert set(found) == {"teacher", "tanh-4"}
    assert all(0 < value < 1e6 for value in found.values())
    assert json.loads((tmp_path / "latency.json").read_text()) == found


@pytest.mark.slow
def test_command_lines(untrained, tmp_path, monkeypatch):
    """Sweep and search of students of a small teacher, in few steps, with what they write."""
    teacher = tmp_path / "teacher.safetensors"
    kd.save(untrained(kd.problems.ALL["burgers"], 0, kd.MLP((4,))), teacher)
    stages = lambda *_: (kd.LevenbergMarquardt(2),)
    monkeypatch.setattr("kdpinn_jax.training.recipes._second_order", stages)
    monkeypatch.setattr("kdpinn_jax.training.recipes.IMITATE", (kd.Adam(3),))

    def kdpinn(*words):
        done = CliRunner().invoke(main, list(map(str, words)))
        assert done.exit_code == 0, done.output
        return done.stdout

    words = ["--vary", "seed=0:2", "--vary", "nu=0.01,0.02", "--layers", "3", "--keep", 1, "--quiet"]
    words += ["--out", tmp_path / "sweep"]
    advance = _batch.BatchRunner.advance
    with monkeypatch.context() as patch:
        patch.setattr(_batch.BatchRunner, "advance", lambda *a: (signal.raise_signal(signal.SIGINT), advance(*a))[1])
        stopped = CliRunner().invoke(main, ["sweep", str(teacher), *map(str, words)])
    assert (stopped.exit_code, stopped.stderr) == (
        1,
        "Error: interrupted at step 0 of 2; --resume continues the training\n",
    )
    shown = kdpinn("sweep", teacher, *words, "--resume")
    rows = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [(row["seed"], row["nu"]) for row in rows["members"]] == [(0, 0.01), (0, 0.02), (1, 0.01), (1, 0.02)]
    best = rows["best"][0]
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {
        "sweep.csv",
        "sweep.json",
        "sweep.png",
        f"member-{best:03d}.safetensors",
    }
    assert shown.splitlines()[1].split()[0] == str(best)
    model = kd.load(tmp_path / "sweep" / f"member-{best:03d}.safetensors")
    assert model.coefficients["nu"] == rows["members"][best]["nu"]
    assert kd.evaluate(model).relative_l2 == pytest.approx(rows["members"][best]["relative_l2"])
    assert len((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()) == 5
    # A member is what distill trains from its seed.
    words = ["--seed", 1, "--coefficient", "nu=0.02", "--layers", 3, "--quiet"]
    kdpinn("distill", teacher, *words, "--out", tmp_path / "s")
    errors = json.loads(kdpinn("evaluate", tmp_path / "s", "--json"))
    assert errors["relative_l2"] == pytest.approx(rows["members"][3]["relative_l2"], rel=1e-4)

    out = tmp_path / "search"
    shown = kdpinn(
        "search",
        teacher,
        "--widths",
        "2,3",
        "--depths",
        "1",
        "--steps",
        2,
        "--max-error",
        "10",
        "--quiet",
        "--out",
        out,
    )
    assert "meets the budget" in shown
    found = json.loads((out / "search.json").read_text())
    front = {row["name"] for row in found["candidates"] if row["role"] == "front"}
    files = {"search.csv", "search.json", "search.png", "student.safetensors", *(f"{n}.safetensors" for n in front)}
    assert {path.name for path in out.iterdir()} == files
    chosen = kd.load(out / "student.safetensors")
    assert found["chosen"] == "-".join(["tanh", *map(str, chosen.network.hidden)])
    assert np.isfinite(jax.tree.leaves(chosen.params)[0]).all()
