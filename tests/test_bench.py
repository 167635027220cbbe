"""The latency benchmark compares methods that give the same values, and its result is complete."""

import json
import os

import pytest
from click.testing import CliRunner

import kdpinn_jax as kd
from kdpinn_jax.cli import _tables, main
from kdpinn_jax.serving.bench import methods as bench_methods
from kdpinn_jax.serving.bench.measure import measure, prepare
from kdpinn_jax.serving.bench.methods import METHODS
from kdpinn_jax.serving.bench.rates import Rates, measure_rates


@pytest.fixture(scope="module")
def models(untrained):
    burgers = kd.problems.ALL["burgers"]
    return {"large": untrained(burgers, 1, kd.MLP((6, 6))), "small": untrained(burgers, 2, kd.MLP((3,)))}


@pytest.fixture(scope="module")
def result(models):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdpinn_jax.serving.bench.timing.REPEATS_SHORT", 5)
        return measure(prepare(models, (1, 16), tuple(METHODS)))


@pytest.mark.slow
def test_every_method_gives_the_models_values(result):
    measured = set(result["sizes"]["1"])
    assert measured | set(result["missing"]) == set(METHODS)
    assert measured >= {"jax.disable_jit", "op by op", "jax.jit", "compile_predict", "NumPy"}
    for methods in result["sizes"].values():
        for method, entries in methods.items():
            assert set(entries) == {"large", "small"}
            for entry in entries.values():
                assert entry["error"] < 2e-5, method  # relative to the small values of an untrained network
                assert 0 < entry["minimum"] <= entry["median"] <= entry["p95"] <= entry["p99"]
                assert entry["repeats"] == 5


@pytest.mark.slow
def test_table_and_limits(result):
    text = _tables.of_bench(result)
    for part in ("large / small, ratio of medians", "jax.disable_jit / compile_predict, small", "compile_predict"):
        assert part in text
    json.dumps(result)
    assert result["models"]["small"]["multiply_adds"] == 2 * 3 + 3 * 1
    assert result["models"]["large"]["tanhs"] == 12
    if result["rates"]:
        rates = Rates(**result["rates"])
        limit = 9 * rates.multiply_add + 3 * rates.tanh
        assert result["models"]["small"]["limit_ns"] == pytest.approx(limit)
        entry = result["sizes"]["16"]["NumPy"]["small"]
        assert entry["share_of_limit"] == pytest.approx(limit / (1e3 * entry["minimum"] / 16))


@pytest.mark.slow
def test_rates_are_plausible():
    pytest.importorskip("cffi")
    try:
        rates = measure_rates(2)
    except RuntimeError:
        pytest.skip("no C compiler")
    assert 0 < rates.multiply_add < rates.tanh  # a tanh is a dozen multiply-adds and a division
    assert rates.bandwidth > 0.1


def test_a_method_that_fails_does_not_affect_the_others(models, monkeypatch):
    def broken(model, z):
        raise RuntimeError("no such engine")

    monkeypatch.setitem(METHODS, "NumPy", broken)
    monkeypatch.setattr("kdpinn_jax.serving.bench.timing.REPEATS_SHORT", 3)
    result = measure(prepare({"small": models["small"]}, (2,), ("NumPy", "compile_predict")))
    assert result["missing"] == {"NumPy": "no such engine"}
    assert list(result["sizes"]["2"]) == ["compile_predict"]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(bench_methods, "NEEDS", {"NumPy": "nosuchpackage"})
    assert bench_methods.missing("NumPy") == "nosuchpackage"
    assert bench_methods.missing("compile_predict") is None


@pytest.mark.slow
def test_command_line(models, tmp_path):
    path = tmp_path / "small.safetensors"
    kd.save(models["small"], path)
    arguments = ["bench", str(path), "--sizes", "1,3", "--methods", "compile_predict,NumPy", "--json"]
    command = CliRunner().invoke(main, arguments)
    assert command.exit_code == 0, command.output
    result = json.loads(command.stdout)
    assert result["machine"]["cores"] == (1 if hasattr(os, "sched_setaffinity") else os.cpu_count())
    assert result["sizes"]["1"]["NumPy"]["small"]["repeats"] == 1000
    assert set(result["sizes"]) == {"1", "3"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "jit"], "method 'jit' is unknown; did you mean 'jax.jit'?"),
        (["--sizes", "0"], "give up to 100 numbers of points, each from 1 to 10000000"),
        ([], "no such file"),
    ],
)
def test_mistakes_are_reported_in_one_line(tmp_path, options, message):
    command = CliRunner().invoke(main, ["bench", str(tmp_path / "none.safetensors"), *options])
    assert command.exit_code == (2 if options else 1)
    assert message in command.stderr
    assert len(command.stderr.splitlines()) == 1
