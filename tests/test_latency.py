"""Latency is measured in a separate process. The tests check the order of the times, never their size."""

import os
import subprocess
import time

import jax
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.runs.bench import prepared_latency
from kdpinn_jax.serving.bench.timing import time_in_turn


@pytest.mark.slow
def test_two_models_are_measured_on_one_core(tmp_path, untrained):
    """Files with the same name in different folders are told apart by their paths."""
    paths = []
    for name, hidden in (("large", (6, 6)), ("small", (3,))):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "model.safetensors")
        kd.save(untrained(kd.problems.ALL["burgers"], network=kd.MLP(hidden)), paths[-1])
    with prepared_latency(paths) as measured:
        latency = measured()
    assert latency["pinned"] is hasattr(os, "sched_setaffinity")
    assert set(latency["models"]) == set(map(str, paths))
    for sizes in latency["models"].values():
        assert set(sizes) == {"1", "1024", "10000"}
        for times in sizes.values():
            assert set(times) == {"minimum", "median", "p95", "p99", "repeats"}
            assert 0 < times["minimum"] <= times["median"] <= times["p95"] <= times["p99"]
            assert times["repeats"] >= 100


def test_the_process_ends_with_the_block_if_nothing_is_measured(tmp_path, untrained, monkeypatch):
    kd.save(untrained(kd.problems.ALL["burgers"], network=kd.MLP((3,))), tmp_path / "model.safetensors")
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **options: started.append(popen(*args, **options)) or started[-1]
    )
    with prepared_latency([tmp_path / "model.safetensors"]):
        assert started[0].poll() is None
    assert started[0].returncode is not None


def test_calls_take_turns_after_a_warm_up():
    order = []
    calls = {name: lambda name=name: order.append(name) or jax.numpy.zeros(1) for name in ("a", "b")}
    times = time_in_turn(calls, 5)
    assert order[20:] == ["a"] * 5 + ["b"] * 5
    assert {name: statistics["repeats"] for name, statistics in times.items()} == {"a": 5, "b": 5}
    order.clear()
    time_in_turn(calls, 15)
    assert order[20:] == ["a"] * 10 + ["b"] * 10 + ["a"] * 5 + ["b"] * 5


def test_a_time_limit_ends_the_repeats_after_the_fewest():
    times = time_in_turn({"sleep": lambda: time.sleep(0.0001)}, 1000, longest=0.0)
    assert times["sleep"]["repeats"] == 110


def test_statistics_are_those_of_the_calls():
    statistics = time_in_turn({"sleep": lambda: time.sleep(0.002)}, 20)["sleep"]
    assert statistics["minimum"] >= 2000
    assert np.isfinite(list(statistics.values())).all()


def test_a_file_that_is_not_a_model_is_reported_in_one_line(tmp_path):
    (tmp_path / "bad.safetensors").write_text("no")
    with (
        pytest.raises(RuntimeError, match=r"latency measurement failed: .*truncated or damaged"),
        prepared_latency([tmp_path / "bad.safetensors"]) as measured,
    ):
        measured()
