"""Prediction from file to file: the values are those of the model, and every invalid file is reported in one line."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kdpinn_jax as kd
from kdpinn_jax.base.tables import table as _table
from kdpinn_jax.base.tables.table import TableError
from kdpinn_jax.runs.point_files import predict_file


@pytest.fixture(scope="module")
def model():
    problem = kd.problems.ALL["burgers"]
    target = kd.objective(problem, kd.MLP((4,)))
    params = kd.init_params(problem, target.network, jax.random.key(0))
    return kd.Model(problem, target.network, params, dict(problem.coefficients))


def read_csv(path):
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 24])
@pytest.mark.parametrize(("in_format", "out_format"), [("csv", "csv"), ("npy", "npy"), ("csv", "npy"), ("npy", "csv")])
def test_values_are_those_of_the_model_for_any_number_of_blocks(
    model, tmp_path, monkeypatch, size, in_format, out_format
):
    monkeypatch.setattr(_table, "BLOCK", 8)
    z = np.random.default_rng(size).uniform((0, -1), (1, 1), (size, 2))
    points, out = tmp_path / f"in.{in_format}", tmp_path / f"out.{out_format}"
    np.savetxt(points, z, delimiter=",") if in_format == "csv" else np.save(points, z)
    assert predict_file(model, points, out, dtype="float64") == (size, 0, ())
    table = read_csv(out) if out_format == "csv" else np.load(out)
    np.testing.assert_allclose(table[:, :2], z, rtol=1e-15)
    np.testing.assert_allclose(table[:, 2:], model(z), rtol=1e-13, atol=1e-15)
    predict_file(model, points, out)
    table = read_csv(out) if out_format == "csv" else np.load(out)
    np.testing.assert_allclose(table[:, 2:], model(z), rtol=1e-4, atol=1e-5)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 1)), min_size=1, max_size=20))
def test_coordinates_are_written_exactly(tmp_path_factory, model, rows):
    folder = tmp_path_factory.mktemp("points")
    (folder / "in.csv").write_text("\n".join(f"{t!r}, {x!r}" for t, x in rows))
    predict_file(model, folder / "in.csv", folder / "out.csv")
    np.testing.assert_array_equal(read_csv(folder / "out.csv")[:, :2], rows)


def test_the_header_or_the_user_finds_the_columns_of_the_axes(model, tmp_path):
    points, out = tmp_path / "in.txt", tmp_path / "out.csv"
    points.write_bytes("% Temperatures in K\n% x [m]  T  t [s]\n\n -0.5 300 0.25\n 0.5  301 0.75\n".encode("utf-16"))
    assert predict_file(model, points, out).notes == (f"{points}: reads the columns t [s], x [m] and ignores T",)
    assert read_csv(out)[:, :2].tolist() == [[0.25, -0.5], [0.75, 0.5]]
    points.write_text("300;-0,5;0,25\n301;0,5;0,75\n")
    assert predict_file(model, points, out, columns=("3", "2")).notes == ()
    assert read_csv(out)[:, :2].tolist() == [[0.25, -0.5], [0.75, 0.5]]


def test_a_header_is_allowed_on_the_first_line_only(model, tmp_path, monkeypatch):
    """A header at the start of a later block is an error, too."""
    monkeypatch.setattr(_table, "BLOCK", 2)
    for content, line in ((b"0,0\n0,0\nx,t\n0.5,0.25\n", 3), (b"t,x\n0,0\nt,x\n", 3)):
        (tmp_path / "in.csv").write_bytes(content)
        check_failure(model, tmp_path, "in.csv", [f"line {line}", "is not a number"])


def test_the_input_file_is_not_overwritten(model, tmp_path):
    np.save(tmp_path / "in.npy", [[0.5, 0.5]])
    with pytest.raises(TableError, match="also the input file"):
        predict_file(model, tmp_path / "in.npy", tmp_path / "in.npy")
    assert np.load(tmp_path / "in.npy").tolist() == [[0.5, 0.5]]


def test_points_outside_the_domain_are_counted_and_its_ends_are_inside(model, tmp_path):
    np.save(tmp_path / "in.npy", [[0.0, -1.0], [1.0, 1.0], [1.1, 0.0], [0.5, -1.5]])
    assert predict_file(model, tmp_path / "in.npy", tmp_path / "out.npy") == (4, 2, ())


@pytest.mark.parametrize("value", ["nan", "-inf", "1e400", "1e39"])
def test_points_that_are_not_finite_or_too_large_for_float32(model, tmp_path, value):
    (tmp_path / "in.csv").write_text(f"t,x\n0,0\n0.5,{value}\n")
    parts = ["too large for float32"] if value == "1e39" else [f"line 3 ('0.5,{value}')", "not finite"]
    check_failure(model, tmp_path, "in.csv", parts)


@pytest.mark.parametrize(
    ("array", "parts"),
    [
        (np.zeros((0, 2)), ["(0, 2)", "at least one row"]),
        (np.zeros((3, 3)), ["(3, 3)", "expected 2 columns (t, x)", "--columns 1,2"]),
        (np.zeros(4), ["(4,)"]),
        (np.zeros((2, 2), complex), ["complex"]),
        (np.zeros((2, 2), bool), ["bool"]),
        (np.array([["a", "b"]]), ["<U1"]),
        (np.array([[0.0, 0.0], [0.0, np.nan]]), ["row 1 ([0.0, nan])", "finite"]),
    ],
)
def test_invalid_npy(model, tmp_path, array, parts):
    np.save(tmp_path / "in.npy", array)
    check_failure(model, tmp_path, "in.npy", parts)


def test_a_pickled_or_truncated_npy_is_rejected(model, tmp_path):
    np.save(tmp_path / "in.npy", np.array([[print, 1]], object), allow_pickle=True)
    check_failure(model, tmp_path, "in.npy", ["type object", "real numbers"])
    np.save(tmp_path / "complete.npy", np.zeros((100, 2)))
    for length in (0, 5, 60, 200, 1700):
        (tmp_path / "in.npy").write_bytes((tmp_path / "complete.npy").read_bytes()[:length])
        check_failure(model, tmp_path, "in.npy", ["not a readable .npy"])


def test_paths_that_are_not_files_of_points(model, tmp_path):
    check_failure(model, tmp_path, "missing.csv", ["no such file"])
    (tmp_path / "folder.csv").mkdir()
    check_failure(model, tmp_path, "folder.csv", ["is a folder"])
    (tmp_path / "in.xlsx").write_text("0,0")
    check_failure(model, tmp_path, "in.xlsx", ["'.xlsx'", ".csv"])


def check_failure(model, folder, name, parts):
    """Check that the message is one line with these parts, and that an earlier output file is left unchanged."""
    out = folder / "out.csv"
    out.write_text("old")
    with pytest.raises(TableError) as caught:
        predict_file(model, folder / name, out)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    for part in parts:
        assert part in message
    assert out.read_text() == "old"
    assert not list(folder.glob(".out*"))


def test_other_types_and_orders_of_npy(model, tmp_path):
    z = np.array([[0, -1], [1, 0]])
    for array in (z, np.asfortranarray(z, float), z.astype(">f4")):
        np.save(tmp_path / "in.npy", array)
        predict_file(model, tmp_path / "in.npy", tmp_path / "out.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy")[:, :2], z)
        predict_file(model, tmp_path / "in.npy", tmp_path / "out.npy", columns=("2", "1"))
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy")[:, :2], z[:, ::-1])
