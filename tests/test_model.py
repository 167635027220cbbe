"""A model is a value: it can be called, mapped and saved, and a saved model is restored bit for bit."""

import itertools
import json
import struct
from dataclasses import replace

import fuzz
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from safetensors.numpy import load_file, save_file

import kdpinn_jax as kd
from kdpinn_jax.models.files import FORMAT_VERSION, atomic

BURGERS = kd.problems.ALL["burgers"]
Z = np.random.default_rng(1).uniform(0, 1, (5, 2))


@pytest.fixture(scope="module")
def model(untrained):
    """A small Burgers model with a handwritten training record."""
    return replace(untrained(BURGERS, 1, kd.MLP((3, 2))), training=fuzz.small_model().training)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    kd.save(model, path)
    return path


def assert_equal(a, b):
    """Assert that two models agree in every bit of their parameters, and in everything else."""
    left, right = jax.tree.leaves_with_path(a.params), jax.tree.leaves_with_path(b.params)
    assert [path for path, _ in left] == [path for path, _ in right]
    for (_, x), (_, y) in zip(left, right, strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    assert (a.problem, a.network) == (b.problem, b.network)
    assert a.coefficients == b.coefficients


# Calls and pytrees ----------------------------------------------------------------------------------------------------


def test_call_evaluates_the_field_at_every_point(model):
    u = model(Z)
    assert u.shape == (5, 1)
    for i, z in enumerate(Z):
        np.testing.assert_allclose(u[i], model.field(jnp.asarray(z)), rtol=1e-12, atol=1e-15)
    assert model.layers == (2, 3, 2, 1)
    assert model.parameters == 2 * 3 + 3 + 3 * 2 + 2 + 2 + 1


def test_model_is_a_pytree(model):
    doubled = jax.tree.map(lambda leaf: 2 * leaf, model)
    assert isinstance(doubled, kd.Model)
    np.testing.assert_array_equal(doubled.params["dense_0"]["bias"], 2 * model.params["dense_0"]["bias"])
    np.testing.assert_allclose(jax.jit(lambda m, z: m(z))(model, Z), model(Z), rtol=1e-12)
    batch = jax.tree.map(lambda a, b: jnp.stack([jnp.asarray(a), jnp.asarray(b)]), model, doubled)
    values = jax.vmap(lambda m: m(Z))(batch)
    np.testing.assert_allclose(values[1], doubled(Z), rtol=1e-12)
    gradient = jax.grad(lambda m: jnp.sum(m(Z)), allow_int=True)(replace(model, training=()))
    assert np.any(np.asarray(gradient.params["dense_0"]["kernel"]))


@pytest.mark.parametrize("shape", [(2,), (5, 1), (5, 3), (1, 5, 2)])
def test_points_of_wrong_shape(model, shape):
    with pytest.raises(ValueError, match=r"expected \(n, 2\) with columns t, x"):
        model(np.zeros(shape))


# Files ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    st.sampled_from(("tanh", "silu", "sine")),
    st.sampled_from((np.float32, np.float64)),
    st.sampled_from(("soft", "hard")),
    st.integers(0, 2**31),
)
def test_loaded_model_equals_the_saved_one(tmp_path_factory, hidden, activation, dtype, conditions, seed):
    problem = kd.with_conditions(kd.problems.ALL["taylor_green"], conditions)
    network = kd.MLP(hidden, activation, outputs=3)
    rng = np.random.default_rng(seed)
    inputs = 3 if conditions == "soft" else 5
    widths = network.layers(inputs)
    params = {
        f"dense_{i}": {
            "kernel": jnp.asarray(rng.normal(size=(a, b)), dtype),
            "bias": jnp.asarray(rng.normal(size=b), dtype),
        }
        for i, (a, b) in enumerate(itertools.pairwise(widths))
    }
    model = kd.Model(problem, network, params, {"nu": rng.uniform()})
    path = tmp_path_factory.mktemp("round") / "m.safetensors"
    kd.save(model, path)
    assert_equal(kd.load(path), model)


def test_loaded_model_predicts_the_same(model, saved):
    loaded = kd.load(saved)
    assert_equal(loaded, model)
    assert np.asarray(loaded(Z)).tobytes() == np.asarray(model(Z)).tobytes()


def test_header(saved):
    header = kd.read_header(saved)
    assert header["format_version"] == FORMAT_VERSION
    assert (header["problem"], header["conditions"]) == ("burgers", "hard")
    assert (header["axes"], header["fields"]) == (["t", "x"], ["u"])
    assert (header["lower"], header["upper"]) == ([0, -1], [1, 1])
    assert header["coefficients"] == {"nu": BURGERS.coefficients["nu"]}
    assert header["network"] == {"hidden": [3, 2], "activation": "tanh", "outputs": 1}
    assert header["dtype"] == "float64"
    assert header["versions"]["jax"] == jax.__version__
    assert header["errors"] is None
    (stage,) = header["training"]
    assert (stage["stage"], stage["planned"], stage["steps"], stage["ending"]) == ("Adam", 40, 30, "TIME_BUDGET")
    assert stage["why"] == "time budget spent at step 30 of 40"
    assert stage["first"] == {"step": 20, "seconds": 1.0, "mean_squares": {"residual": 0.5, "loss": 0.75}}
    assert stage["last"] == {"step": 30, "seconds": 2.5, "mean_squares": {"residual": 0.25, "loss": 0.375}}


def test_training_record_is_restored(saved):
    (report,) = kd.load(saved).training
    assert report.why() == "time budget spent at step 30 of 40"
    assert list(report.history["loss"]) == [0.75, 0.375]
    assert list(report.record_steps) == [20, 30]
    assert report.fresh_loss == 0.5
    assert (report.seconds_compiling, report.seconds) == (1.5, 2.5)


def test_errors_are_stored(model, tmp_path):
    metrics = kd.Metrics("u", {"u": kd.Errors(1e-3, 2e-3, 3e-3)}, {"mild right": {"u": kd.Errors(0.1, 0.2, 0.3)}}, {})
    kd.save(model, tmp_path / "m.safetensors", metrics=metrics)
    stored = kd.read_header(tmp_path / "m.safetensors")["errors"]
    assert stored == json.loads(json.dumps(metrics.as_dict()))
    assert (stored["quantity"], stored["rmse"], stored["relative_l2"], stored["max_error"]) == ("u", 1e-3, 2e-3, 3e-3)
    assert stored["extrapolation"]["mild right"]["u"]["max_error"] == 0.3


def test_float64_file_is_read_as_float32_by_default(model, saved, float32):
    with jax.enable_x64(True):
        values = np.asarray(model(Z))
    loaded = kd.load(saved)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded(Z), values, rtol=1e-5, atol=1e-6)


def test_problem_that_is_not_shipped(heat, untrained, tmp_path):
    model, path = untrained(heat, 2), tmp_path / "heat.safetensors"
    kd.save(model, path)
    assert_equal(kd.load(path, problem=heat), model)
    with pytest.raises(kd.ModelFileError, match=r"'heat' is not shipped with the library.*load\(path, problem=…\)"):
        kd.load(path)
    with pytest.raises(kd.ModelFileError, match="problem is 'heat' in the file and 'burgers' in the problem given"):
        kd.load(path, problem=BURGERS)
    with pytest.raises(kd.ModelFileError, match=r"upper is \[1.0, 1.0\] in the file and \[1.0, 2.0\]"):
        kd.load(path, problem=replace(heat, upper=(1.0, 2.0)))
    with pytest.raises(kd.ModelFileError, match=r"coefficients .* do not fit problem 'heat'"):
        kd.load(path, problem=replace(heat, coefficients={"beta": 1.0}))


def test_file_stores_the_conditions(untrained, tmp_path):
    soft = kd.with_conditions(BURGERS, "soft")
    kd.save(untrained(soft, 1, kd.MLP((2,))), tmp_path / "m.safetensors")
    assert kd.load(tmp_path / "m.safetensors").problem is soft
    assert kd.load(tmp_path / "m.safetensors", problem=BURGERS).problem is soft
    kd.save(untrained(BURGERS, 1, kd.MLP((2,))), tmp_path / "m.safetensors")
    with pytest.raises(kd.ModelFileError, match="conditions is 'hard' in the file and 'soft'"):
        kd.load(tmp_path / "m.safetensors", problem=soft)


def test_no_such_file(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(kd.ModelFileError, match="no such file"):
            kd.load(path)
        with pytest.raises(kd.ModelFileError, match="no such file"):
            kd.read_header(path)


def test_files_that_are_not_models(tmp_path):
    path = tmp_path / "other"
    for content in (b"", b"not a model", b"\x00" * 100, b"\xff" * 100, struct.pack("<Q", 2**62) + b"{}"):
        path.write_bytes(content)
        with pytest.raises(kd.ModelFileError, match="truncated or damaged"):
            kd.load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(kd.ModelFileError, match="not one written by this library"):
        kd.load(path)
    save_file({"a": np.zeros(3)}, path, {"kdpinn_jax": "{"})
    with pytest.raises(kd.ModelFileError, match="damaged"):
        kd.load(path)


def test_truncated_files(saved, tmp_path):
    content, path = saved.read_bytes(), tmp_path / "cut"
    for length in {*range(0, len(content), 37), *range(12), *range(len(content) - 20, len(content))}:
        path.write_bytes(content[:length])
        with pytest.raises(kd.ModelFileError):
            kd.load(path)


def rewritten(saved, path, change, tensors=None):
    """Write a copy of the file with a changed header or changed weights; return its path."""
    header = kd.read_header(saved)
    change(header)
    save_file(load_file(saved) | (tensors or {}), path, {"kdpinn_jax": json.dumps(header)})
    return path


@pytest.mark.parametrize("name", ["format_version", "problem", "conditions", "network", "coefficients", "training"])
def test_missing_header_entries(saved, tmp_path, name):
    with pytest.raises(kd.ModelFileError):
        kd.load(rewritten(saved, tmp_path / "m", lambda header: header.pop(name)))


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e40, "1e999", None, []])
@pytest.mark.parametrize("entry", ["planned", "steps", "seconds", "ending"])
def test_invalid_numbers_in_the_training_record(saved, tmp_path, entry, number):
    path = rewritten(saved, tmp_path / "m", lambda header: header["training"][0].update({entry: number}))
    try:
        kd.load(path).training[0].why()
    except kd.ModelFileError as error:
        assert "header damaged" in str(error)  # noqa: PT017 - some of the numbers are valid


def test_other_format_version(saved, tmp_path):
    path = rewritten(saved, tmp_path / "m", lambda header: header.update(format_version=FORMAT_VERSION + 1))
    for read in (kd.load, kd.read_header):
        with pytest.raises(kd.ModelFileError, match=f"format version {FORMAT_VERSION + 1}, but this library reads"):
            read(path)


def test_unknown_problem(saved, tmp_path):
    path = rewritten(saved, tmp_path / "m", lambda header: header.update(problem="burger"))
    with pytest.raises(kd.ModelFileError, match="did you mean 'burgers'"):
        kd.load(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"dense_0.kernel": np.zeros((3, 2))}, "do not fit layers"),
        ({"dense_0.kernel": np.zeros((2, 4))}, "do not fit layers"),
        ({"dense_9.bias": np.zeros(1)}, "do not fit layers"),
        ({"dense_0.bias": np.array([0, np.nan, 0])}, "dense_0.bias are not finite"),
        ({"dense_0.bias": np.array([0, np.inf, 0])}, "dense_0.bias are not finite"),
        ({"dense_0.bias": np.zeros(3, np.int64)}, "not finite floating-point numbers"),
    ],
)
def test_invalid_weights(saved, tmp_path, tensors, message):
    with pytest.raises(kd.ModelFileError, match=message):
        kd.load(rewritten(saved, tmp_path / "m", lambda header: None, tensors))


# Atomic writes --------------------------------------------------------------------------------------------------------


def test_atomic_keeps_the_old_file_if_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            assert temporary.parent == tmp_path  # on the same file system, where renaming is atomic
            assert path.read_text() == "old"
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_leaves_no_file_if_the_first_write_fails(tmp_path):
    def interrupt():
        with atomic(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert list(tmp_path.iterdir()) == []


def test_saved_files_have_default_permissions(model, tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    kd.save(model, tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_mode == plain.stat().st_mode
