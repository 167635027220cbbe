"""The search for the smallest student: fronts and choices of given candidates, and a small search from start to end."""

import dataclasses
import json
import signal

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
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


def candidates_of(*pairs):
    """Candidates with these (error, latency), named by their position."""
    return [Candidate(str(i), None, error, latency, 1) for i, (error, latency) in enumerate(pairs)]


def names(candidates):
    return "".join(candidate.name for candidate in candidates)


def test_promising():
    """0 and 2 are not dominated, 1 is dominated by 2 alone, and 3 by all except 0.

    From a front with too many candidates, evenly spaced ones are selected.
    """
    candidates = candidates_of((1e-1, 1.0), (1e-2, 3.0), (1e-2, 2.0), (2e-2, 9.0))
    assert [names(promising(candidates, count)) for count in (1, 2, 3, 4, 9)] == ["2", "20", "201", "2013", "2013"]
    assert names(promising(candidates_of(*((1 / n, n) for n in range(1, 8))), 3)) == "630"


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=12))
def test_the_front_is_not_dominated(pairs):
    candidates = candidates_of(*pairs)
    front = _search._front(candidates)

    def dominates(a, b):
        return a.error <= b.error and a.latency <= b.latency and (a.error, a.latency) != (b.error, b.latency)

    assert not any(dominates(other, member) for member in front for other in candidates)
    for other in candidates:
        assert other in front or any(
            member.error <= other.error and member.latency <= other.latency for member in front
        )
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
        (1e-3, 1.0, "2", 4.0),  # none meets both: the smallest factor
        (1e-4, None, "2", 10.0),
    ],
)
def test_choice(max_error, max_latency, name, miss):
    chosen, factor = choose(candidates_of((1e-1, 1.0), (1e-2, 2.0), (1e-3, 4.0)), kd.Budget(max_error, max_latency))
    assert chosen.name == name
    assert factor == pytest.approx(miss)


@pytest.mark.slow
def test_a_small_search(decay, untrained, tmp_path, monkeypatch):
    """The larger network is more accurate, and the latencies are given. In the end the front has both networks."""
    latency = {"teacher": 8.0, "tanh-1": 1.0, "tanh-4": 2.0, "tanh-3-3": 4.0, "tanh-1-1": 3.0}
    monkeypatch.setattr(_search, "_latency", lambda *_: latency)
    halving = kd.SuccessiveHalving((1, 2), steps=8, imitate=(kd.LevenbergMarquardt(4),))
    teacher, lines = untrained(decay, 1), []
    family = kd.NetworkFamily(widths=(1, 4), depths=(1,))
    options = {"family": family, "halving": halving, "checkpoint": kd.Checkpoint(tmp_path / "c")}
    result = kd.search(teacher, kd.Budget(max_error=1e-9), **options, say=lines.append)
    assert [candidate.name for candidate in result.candidates] == ["tanh-1", "tanh-4"]
    assert result.chosen.name == "tanh-4"
    assert result.miss == pytest.approx(result.chosen.error / 1e-9)  # none meets the budget: the closest is chosen
    assert result.chosen.error == pytest.approx(kd.evaluate(result.chosen.model).relative_l2)
    rows = result.rows()
    assert [row["times_cheaper"] for row in rows] == [8.0, 4.0, 1.0]
    assert [row["role"] for row in rows] == ["front", "front", "teacher"]
    assert json.dumps(rows)
    assert lines[0].startswith("timing 2 networks and the teacher")
    assert lines[1].startswith("rung 1 of 2: 2 networks")
    assert lines[2].startswith("rung 2 of 2: 1 networks")
    monkeypatch.setattr(_batch.BatchRunner, "advance", None)  # completed trainings are read, not repeated
    again = kd.search(teacher, kd.Budget(max_error=1e-9), **options)
    jax.tree.map(np.testing.assert_array_equal, again.chosen.model.params, result.chosen.model.params)
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


def test_a_resumed_search_uses_its_first_latencies(decay, untrained, tmp_path, monkeypatch):
    """New measurements would differ, and other networks might be trained further."""
    first = {"teacher": 2.0, "tanh-4": 1.0}
    monkeypatch.setattr(_search, "_measure_latency", lambda *_: first)
    networks, budget, checkpoint = {"tanh-4": kd.MLP((4,))}, kd.Budget(points=16), kd.Checkpoint(tmp_path)
    assert _search._latency(untrained(decay), networks, budget, checkpoint) == first
    monkeypatch.setattr(_search, "_measure_latency", lambda *_: pytest.fail("measured again"))
    assert _search._latency(untrained(decay), networks, budget, checkpoint) == first
    other_embedding = dataclasses.replace(decay, embed=lambda z: jnp.stack([z[0], z[0] ** 2]))
    for teacher, other_networks, other_budget, reason in (
        (decay, {"tanh-5": kd.MLP((5,))}, budget, "networks"),
        (decay, networks, kd.Budget(points=17), "points"),
        (decay, networks, kd.Budget(points=16, engine="c"), "engine"),
        (other_embedding, networks, budget, "embedding or ansatz"),
    ):
        with pytest.raises(kd.CheckpointError, match=f"of a search that differs in {reason}.*delete"):
            _search._latency(untrained(teacher), other_networks, other_budget, checkpoint)


@pytest.mark.parametrize(
    "content", ['{"teacher": 2.0', "[1.0]", '{"teacher": 2.0}', '{"timed": [], "microseconds": {}}']
)
def test_unusable_latencies_are_refused(content, decay, untrained, tmp_path):
    (tmp_path / "latency.json").write_text(content)
    with pytest.raises(kd.CheckpointError, match=r"is damaged.*delete"):
        _search._latency(untrained(decay), {"tanh-4": kd.MLP((4,))}, kd.Budget(), kd.Checkpoint(tmp_path))


def test_latency_with_a_problem_of_the_user(decay, untrained, tmp_path):
    """Another process does not know where the problem is defined. The latency is stored."""
    networks, budget = {"tanh-4": kd.MLP((4,))}, kd.Budget(points=16)
    latency = _search._latency(untrained(decay), networks, budget, kd.Checkpoint(tmp_path))
    assert set(latency) == {"teacher", "tanh-4"}
    assert all(0 < value < 1e6 for value in latency.values())
    assert json.loads((tmp_path / "latency.json").read_text())["microseconds"] == latency


@pytest.mark.slow
def test_command_lines(untrained, tmp_path, monkeypatch):
    """Sweep and search among students of a small teacher, with few steps, and the files they write."""
    teacher = tmp_path / "teacher.safetensors"
    kd.save(untrained(kd.problems.ALL["burgers"], 0, kd.MLP((4,))), teacher)
    stages = lambda *_: (kd.LevenbergMarquardt(2),)
    monkeypatch.setattr("kdpinn_jax.training.recipes._second_order", stages)
    monkeypatch.setattr("kdpinn_jax.training.recipes.IMITATE", (kd.Adam(3),))

    def kdpinn(*arguments):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.stdout

    options = ["--vary", "seed=0:2", "--vary", "nu=0.01,0.02", "--layers", "3", "--keep", 1, "--quiet"]
    options += ["--out", tmp_path / "sweep"]
    advance = _batch.BatchRunner.advance
    with monkeypatch.context() as patch:
        patch.setattr(_batch.BatchRunner, "advance", lambda *a: (signal.raise_signal(signal.SIGINT), advance(*a))[1])
        interrupted = CliRunner().invoke(main, ["sweep", str(teacher), *map(str, options)])
    assert (interrupted.exit_code, interrupted.stderr) == (
        1,
        "Error: interrupted at step 0 of 2; --resume continues the training\n",
    )
    stdout = kdpinn("sweep", teacher, *options, "--resume")
    rows = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [(row["seed"], row["nu"]) for row in rows["members"]] == [(0, 0.01), (0, 0.02), (1, 0.01), (1, 0.02)]
    best = rows["best"][0]
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {
        "sweep.csv",
        "sweep.json",
        "sweep.png",
        f"member-{best:03d}.safetensors",
    }
    assert stdout.splitlines()[1].split()[0] == str(best)
    model = kd.load(tmp_path / "sweep" / f"member-{best:03d}.safetensors")
    assert model.coefficients["nu"] == rows["members"][best]["nu"]
    assert kd.evaluate(model).relative_l2 == pytest.approx(rows["members"][best]["relative_l2"])
    assert len((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()) == 5
    # The distill command trains the same model from the seed of a member.
    options = ["--seed", 1, "--coefficient", "nu=0.02", "--layers", 3, "--quiet"]
    kdpinn("distill", teacher, *options, "--out", tmp_path / "s")
    errors = json.loads(kdpinn("evaluate", tmp_path / "s", "--json"))
    assert errors["relative_l2"] == pytest.approx(rows["members"][3]["relative_l2"], rel=1e-4)

    out = tmp_path / "search"
    options = ["--widths", "2,3", "--depths", "1", "--steps", 2, "--max-error", "10", "--quiet"]
    stdout = kdpinn("search", teacher, *options, "--out", out)
    assert "meets the budget" in stdout
    content = json.loads((out / "search.json").read_text())
    front = {row["name"] for row in content["candidates"] if row["role"] == "front"}
    files = {"search.csv", "search.json", "search.png", "student.safetensors", *(f"{n}.safetensors" for n in front)}
    assert {path.name for path in out.iterdir()} == files
    chosen = kd.load(out / "student.safetensors")
    assert content["chosen"] == "-".join(["tanh", *map(str, chosen.network.hidden)])
    assert np.isfinite(jax.tree.leaves(chosen.params)[0]).all()
