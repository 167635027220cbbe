"""The latency benchmark: what it compares gives the same numbers, and what it says is complete."""

import json
import os

import pytest
from click.testing import CliRunner

import kdpinn_jax as kd
from kdpinn_jax.cli import _tables, main
from kdpinn_jax.serving.bench import methods as _methods
from kdpinn_jax.serving.bench import rates as _rates
from kdpinn_jax.serving.bench.measure import measure, prepare
from kdpinn_jax.serving.bench.methods import METHODS


@pytest.fixture(scope="module")
def models(untrained):
    burgers = kd.problems.ALL["burgers"]
    return {"large": untrained(burgers, 1, kd.MLP((6, 6))), "small": untrained(burgers, 2, kd.MLP((3,)))}


@pytest.fixture(scope="module")
def found(models):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdpinn_jax.serving.bench.timing.REPEATS_SHORT", 5)
        return measure(prepare(models, (1, 16), tuple(METHODS)))


@pytest.mark.slow
def test_every_method_gives_the_models_numbers(found):
    ran = set(found["sizes"]["1"])
    assert ran | set(found["missing"]) == set(METHODS)
    assert ran >= {"jax.disable_jit", "op by op", "jax.jit", "compile_predict", "NumPy"}
    for methods in found["sizes"].values():
        for method, of_models in methods.items():
            assert set(of_models) == {"large", "small"}
            for t in of_models.values():
                assert t["error"] < 2e-5, method  # the small denominators of a random network's field
                assert 0 < t["minimum"] <= t["median"] <= t["p95"] <= t["p99"]
                assert t["repeats"] == 5


@pytest.mark.slow
def test_what_is_said(found):
    text = _tables.of_bench(found)
    for part in ("large / small, median by median", "jax.disable_jit / compile_predict, small", "compile_predict"):
        assert part in text
    json.dumps(found)
    assert found["models"]["small"]["multiply_adds"] == 2 * 3 + 3 * 1
    assert found["models"]["large"]["tanhs"] == 12
    if found["rates"]:
        rates = _rates.Rates(**found["rates"])
        limit = 9 * rates.multiply_add + 3 * rates.tanh
        assert found["models"]["small"]["limit_ns"] == pytest.approx(limit)
        t = found["sizes"]["16"]["NumPy"]["small"]
        assert t["share_of_limit"] == pytest.approx(limit / (1e3 * t["minimum"] / 16))


@pytest.mark.slow
def test_rates_are_of_this_core():
    pytest.importorskip("cffi")
    try:
        rates = _rates.measure_rates(2)
    except RuntimeError:
        pytest.skip("no C compiler")
    assert 0 < rates.multiply_add < rates.tanh  # a tanh is a dozen multiply-adds and a division
    assert rates.bandwidth > 0.1


def test_a_method_that_fails_leaves_the_others(models, monkeypatch):
    def broken(model, z):
        raise RuntimeError("no such engine")

    monkeypatch.setitem(METHODS, "NumPy", broken)
    monkeypatch.setattr("kdpinn_jax.serving.bench.timing.REPEATS_SHORT", 3)
    found = measure(prepare({"small": models["small"]}, (2,), ("NumPy", "compile_predict")))
    assert found["missing"] == {"NumPy": "no such engine"}
    assert list(found["sizes"]["2"]) == ["compile_predict"]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(_methods, "NEEDS", {"NumPy": "nosuchpackage"})
    assert _methods.missing("NumPy") == "nosuchpackage"
    assert _methods.missing("compile_predict") is None


@pytest.mark.slow
def test_the_command(models, tmp_path):
    path = tmp_path / "small.safetensors"
    kd.save(models["small"], path)
    words = ["bench", str(path), "--sizes", "1,3", "--methods", "compile_predict,NumPy"]
    result = CliRunner().invoke(main, [*words, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["machine"]["cores"] == (1 if hasattr(os, "sched_setaffinity") else os.cpu_count())
    assert found["sizes"]["1"]["NumPy"]["small"]["repeats"] == 1000
    assert set(found["sizes"]) == {"1", "3"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "jit"], "method 'jit' is unknown; did you mean 'jax.jit'?"),
        (["--sizes", "0"], "give up to 100 numbers of points, each from 1 to 10000000"),
        ([], "no such file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, words, message):
    result = CliRunner().invoke(main, ["bench", str(tmp_path / "none.safetensors"), *words])
    assert result.exit_code == (2 if words else 1)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
