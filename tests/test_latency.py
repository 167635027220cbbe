"""Latency is measured in a process of its own; its numbers are ordered, never compared with a limit."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.serving.bench.latency import measure, prepared, time_in_turn


@pytest.mark.slow
def test_two_models_are_measured_on_one_core(tmp_path, untrained):
    paths = []
    for name, hidden in (("large", (6, 6)), ("small", (3,))):
        model = untrained(kd.problems.ALL["burgers"], network=kd.MLP(hidden))
        paths.append(tmp_path / f"{name}.safetensors")
        kd.save(model, paths[-1])
    found = measure(paths)
    assert found["pinned"] is hasattr(os, "sched_setaffinity")
    assert set(found["models"]) == {"large", "small"}
    for cases in found["models"].values():
        assert set(cases) == {"1", "1024", "10000"}
        for case in cases.values():
            assert 0 < case["minimum"] <= case["median"] <= case["p95"] <= case["p99"]
            assert case["repeats"] >= 100


@pytest.mark.slow
def test_the_command_pins_itself_and_tells_files_of_one_name_apart(tmp_path, untrained):
    paths = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        paths.append(tmp_path / run / "student.safetensors")
        kd.save(untrained(kd.problems.ALL["burgers"], network=kd.MLP((3,))), paths[-1])
    program = [sys.executable, "-m", "kdpinn_jax.serving.bench.latency", *map(str, paths)]
    found = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    assert found["pinned"] is hasattr(os, "sched_setaffinity")
    assert set(found["models"]) == set(map(str, paths))
    (tmp_path / "bad.safetensors").write_text("no")
    failed = subprocess.run([*program[:3], str(tmp_path / "bad.safetensors")], capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: ")
    assert len(failed.stderr.splitlines()) == 1


def test_the_process_ends_with_the_block_that_did_not_ask_for_numbers(tmp_path, untrained, monkeypatch):
    kd.save(untrained(kd.problems.ALL["burgers"], network=kd.MLP((3,))), tmp_path / "model.safetensors")
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: started.append(popen(*args, **more)) or started[-1])
    with prepared([tmp_path / "model.safetensors"]):
        assert started[0].poll() is None
    assert started[0].returncode is not None


def test_calls_take_turns_and_are_warmed_up():
    order = []
    calls = {name: lambda name=name: order.append(name) or jax.numpy.zeros(1) for name in ("a", "b")}
    found = time_in_turn(calls, 5)
    assert order[20:] == ["a"] * 5 + ["b"] * 5
    assert {name: case["repeats"] for name, case in found.items()} == {"a": 5, "b": 5}
    order.clear()
    time_in_turn(calls, 15)
    assert order[20:] == ["a"] * 10 + ["b"] * 10 + ["a"] * 5 + ["b"] * 5


def test_statistics_are_of_the_calls():
    import time

    found = time_in_turn({"sleep": lambda: time.sleep(0.002)}, 20)["sleep"]
    assert found["minimum"] >= 2000
    assert np.isfinite(list(found.values())).all()


def test_a_file_that_is_no_model_is_one_line(tmp_path):
    (tmp_path / "bad.safetensors").write_text("no")
    with pytest.raises(RuntimeError, match=r"latency measurement failed: .*truncated or damaged"):
        measure([tmp_path / "bad.safetensors"])
