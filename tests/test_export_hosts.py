"""The exports to ONNX and StableHLO, as evaluated by the hosts that read them."""

import json
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.serving.predict import many_points


@pytest.fixture(scope="module")
def student(untrained):
    """A function that returns an untrained student of a problem."""
    return lambda name: untrained(kd.problems.ALL[name], 3, replace(kd.problems.ALL[name].student, hidden=(7, 5)))


def points(problem, n):
    return np.random.default_rng(n).uniform(problem.lower, problem.upper, (n, len(problem.axes))).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", kd.problems.ALL)
def test_onnx_runtime_gives_the_models_values(student, tmp_path, name):
    runtime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    model = student(name)
    (path,) = kd.export_onnx(model, tmp_path)
    assert path == tmp_path / f"{name}.onnx"
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n in (1, 33):
        z = points(model.problem, n)
        (u,) = session.run(None, {"z": z})
        assert u.dtype == np.float32
        exact = np.asarray(model(z))
        # The tolerance is relative to the error of the model itself in float32.
        rounding = np.abs(jax.jit(jax.vmap(kd.cast(model, np.float32).field))(z) - exact).max()
        assert np.abs(u - exact).max() <= max(4 * rounding, 1e-6 * np.abs(exact).max())
    graph = onnx.load(path)
    assert [entry.version for entry in graph.opset_import] == [17]
    assert graph.ir_version == 8


def onnx_runtime(path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda z: session.run(None, {"z": z})[0]


def opencv(path):
    network = pytest.importorskip("cv2").dnn.readNetFromONNX(str(path))

    def predict(z):
        network.setInput(z, "z")
        return network.forward()

    return predict


def reference_evaluator(path):
    reference = pytest.importorskip("onnx.reference")
    return lambda z: reference.ReferenceEvaluator(str(path)).run(None, {"z": z})[0]


@pytest.mark.slow
@pytest.mark.parametrize("host", [onnx_runtime, opencv, reference_evaluator])
@pytest.mark.parametrize("name", ["black_scholes", "lid_driven_cavity"])
def test_onnx_with_fixed_shapes(student, tmp_path, host, name):
    onnx = pytest.importorskip("onnx")
    model = student(name)
    for batch in (1, 5):
        (path,) = kd.export_onnx(model, tmp_path, name=f"fixed{batch}", batch=batch)
        graph = onnx.load(path).graph
        for tensor, columns in ((graph.input[0], model.problem.axes), (graph.output[0], model.problem.fields)):
            shape = [dimension.dim_value for dimension in tensor.type.tensor_type.shape.dim]
            assert shape == [batch, len(columns)]
        assert {"Shape", "Expand"}.isdisjoint(node.op_type for node in graph.node)
        z, predict = points(model.problem, batch), host(path)
        exact = np.array(model(z))
        np.testing.assert_allclose(predict(z), exact, rtol=0, atol=2e-6)
        z[0, 1] = np.nan
        exact[0] = np.nan
        np.testing.assert_allclose(predict(z), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "1"])
def test_the_batch_of_onnx_is_a_number_of_points(heat, untrained, tmp_path, batch, unchecked):
    with pytest.raises(ValueError, match=r"batch=.* is not a number of points; use a whole number of at least 1"):
        kd.export_onnx(untrained(heat, 1, kd.MLP((3,))), tmp_path / "out", batch=batch)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_onnx_metadata(student, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = student("burgers")
    metrics = kd.Metrics("u", {"u": kd.Errors(1e-3, 2e-3, 3e-3)}, {}, {"residual": 0.1})
    (path,) = kd.export_onnx(model, tmp_path, name="plant", metrics=metrics)
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(properties["axes"]) == ["t", "x"]
    assert json.loads(properties["upper"]) == [1.0, 1.0]
    assert json.loads(properties["metrics"])["fields"]["u"]["relative_l2"] == 2e-3
    assert "relative L2 2.00e-03" in properties["errors"]
    header, _ = kd.export_c(model, tmp_path, name="plant", metrics=metrics)
    assert properties["weights"] in header.read_text()  # both contain the hash of the weights
    (repeated,) = kd.export_onnx(model, tmp_path / "repeated", name="plant", metrics=metrics)
    assert repeated.read_bytes() == path.read_bytes()


def test_a_missing_onnx_package_is_reported(heat, untrained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"not installed: pip install 'kdpinn-jax\[onnx\]'"):
        kd.export_onnx(untrained(heat, 1, kd.MLP((3,))), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_models_that_only_stablehlo_supports(heat, untrained, tmp_path):
    pytest.importorskip("onnx")
    looped = replace(heat, ansatz=lambda net, z, c: jax.lax.fori_loop(0, 3, lambda i, u: u + net(z), jnp.zeros(1)))
    model = untrained(looped, 1, kd.MLP((3,)))
    with pytest.raises(kd.UnsupportedPrimitive, match=r"primitive '(scan|while)'"):
        kd.export_onnx(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.warns(RuntimeWarning, match=r"jax.vmap.*primitive '(scan|while)'"):
        assert len(kd.export_stablehlo(model, tmp_path / "out")) == 3


CALLER = """
import sys, jax, numpy as np
if sys.argv[3] == "float64":
    jax.config.update("jax_enable_x64", True)
exported = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
z = np.load(sys.argv[2])
np.savez(sys.argv[4], *[np.asarray(jax.jit(exported.call)(z[:n])) for n in (1, len(z))])
assert "kdpinn_jax" not in sys.modules
print(*exported.platforms)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["black_scholes", "taylor_green"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stablehlo_is_exact_without_the_library(student, tmp_path, name, dtype):
    model = student(name)
    exported, bytecode, description = kd.export_stablehlo(model, tmp_path, dtype=dtype)
    z = points(model.problem, 37).astype(dtype)
    np.save(tmp_path / "z.npy", z)
    command = [sys.executable, "-c", CALLER, exported, tmp_path / "z.npy", dtype, tmp_path / "u.npz"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["cpu", "cuda", "tpu"]
    predict = jax.jit(many_points(model, np.dtype(dtype)))
    one, many = np.load(tmp_path / "u.npz").values()
    np.testing.assert_array_equal(one, predict(z[:1]))
    np.testing.assert_array_equal(many, predict(z))
    assert bytecode.read_bytes()[:4] == b"ML\xefR"  # the signature of MLIR bytecode
    properties = json.loads(description.read_text())
    assert properties["dtype"] == dtype
    assert properties["problem"] == name
    assert properties["fields"] == list(model.problem.fields)


@pytest.mark.slow
def test_nan_in_stablehlo_gives_nan_in_its_row_alone(student, tmp_path):
    model = student("taylor_green")
    path, *_ = kd.export_stablehlo(model, tmp_path)
    call = jax.jit(jax.export.deserialize(bytearray(path.read_bytes())).call)
    z = points(model.problem, 7)
    expected = np.array(call(z))
    z[2, 2] = z[6, 0] = np.nan
    expected[[2, 6]] = np.nan
    np.testing.assert_array_equal(call(z), expected)


def test_unknown_platforms_are_rejected(heat, untrained, tmp_path):
    with pytest.raises(ValueError, match="abacus"):
        kd.export_stablehlo(untrained(heat, 1, kd.MLP((3,))), tmp_path / "out", platforms=("abacus",))
    assert not (tmp_path / "out").exists()
