"""References that are data: arrays, tables and meshes of other programs."""

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import kdpinn_jax as kd
from kdpinn_jax.base.tables.table import TableError
from kdpinn_jax.cli import main
from kdpinn_jax.runs.read_reference import read_reference

BURGERS = kd.problems.ALL["burgers"]


def points(n=300):
    z = np.random.default_rng(0).uniform(BURGERS.lower, BURGERS.upper, (n, 2))
    return z, np.asarray(jax.vmap(BURGERS.reference(BURGERS.coefficients))(jnp.asarray(z)))


@pytest.fixture(scope="module")
def model(untrained):
    return untrained(BURGERS, 0, kd.MLP((4,)))


def test_the_errors_are_those_at_the_points(model):
    z, values = points()
    metrics = kd.evaluate(model, reference=kd.reference_at(z, values))
    u = np.asarray(model(z))
    assert metrics.relative_l2 == pytest.approx(np.linalg.norm(u - values) / np.linalg.norm(values))
    assert not metrics.extrapolation
    gaps = np.where(np.arange(300)[:, None] % 3 == 0, np.nan, values)
    u, exact = u[np.arange(300) % 3 > 0], values[np.arange(300) % 3 > 0]
    with_gaps = kd.evaluate(model, reference=kd.reference_at(z, gaps))
    assert with_gaps.relative_l2 == pytest.approx(np.linalg.norm(u - exact) / np.linalg.norm(exact))


@pytest.mark.slow
def test_a_problem_whose_reference_is_data(decay, tmp_path):
    t = np.linspace(0, 1, 50)[:, None]
    problem = replace(decay, reference=kd.reference_at(t, np.exp(-t)))
    assert problem == replace(decay, reference=kd.reference_at(t, np.exp(-t)))
    assert problem != replace(decay, reference=kd.reference_at(t, np.exp(-2 * t)))
    stages = (kd.LevenbergMarquardt(20),)
    trained = kd.train_teacher(problem, jax.random.key(0), network=kd.MLP((6,)), stages=stages, track_error=True)
    assert kd.evaluate(trained).relative_l2 < 1e-3
    assert trained.training[-1].history["relative_l2"][-1] == pytest.approx(kd.evaluate(trained).relative_l2)
    kd.plots.solution({"model": trained}, tmp_path / "p.png")
    wrong = replace(decay, reference=kd.reference_at(t, np.ones((50, 2))))
    with pytest.raises(ValueError, match="the reference has 1 coordinates and 2 fields; expected the axes t and the"):
        kd.train_teacher(wrong, jax.random.key(0), network=kd.MLP((3,)), stages=stages)


def test_tables_and_meshes(tmp_path):
    """The text of COMSOL, a table without a header, and the point data of a mesh give the same reference."""
    meshio = pytest.importorskip("meshio")
    z, values = points(40)
    rows = np.concatenate([z, values], axis=1)
    np.savetxt(tmp_path / "c.txt", rows, header="Model: x.mph\nNodes: 40\nt   x   u (m/s)", comments="% ")
    np.save(tmp_path / "n.npy", rows)
    mesh = meshio.Mesh(
        np.pad(z, ((0, 0), (0, 1))), [("vertex", np.arange(40)[:, None])], point_data={"u": values[:, 0]}
    )
    mesh.write(tmp_path / "m.vtu")
    expected = kd.reference_at(z, values)
    for name in ("c.txt", "n.npy", "m.vtu"):
        read = read_reference(tmp_path / name, BURGERS).reference
        np.testing.assert_allclose(read.z, expected.z, rtol=1e-12)
        np.testing.assert_allclose(read.values, expected.values, rtol=1e-12)


def test_files_that_do_not_fit(tmp_path):
    meshio = pytest.importorskip("meshio")
    (tmp_path / "two.csv").write_text("t,x\n0,0\n")
    (tmp_path / "nan.csv").write_text("t,x,u\n0,0,nan\n")
    (tmp_path / "no.vtu").write_text("<VTKFile>")
    meshio.Mesh(np.zeros((1, 3)), [("vertex", [[0]])], point_data={"T": np.zeros(1)}).write(tmp_path / "T.vtu")
    for name, message in {
        "two.csv": "no column is named 'u'",
        "nan.csv": "no row of values is finite",
        "no.vtu": "meshio cannot read this mesh",
        "T.vtu": "the mesh has no point data named u; its point data are: T",
        "missing.vtu": "no such file",
    }.items():
        with pytest.raises(TableError, match=message):
            read_reference(tmp_path / name, BURGERS)


@pytest.mark.parametrize(
    ("z", "values", "message"),
    [
        (np.zeros((3, 2)), np.zeros(3), r"z has shape \(3, 2\) and values \(3,\); expected \(n, d\) and \(n, m\)"),
        (np.full((3, 2), np.nan), np.zeros((3, 1)), "z contains NaN or infinity"),
        (np.zeros((3, 2)), np.full((3, 1), np.nan), "no row of values is finite"),
    ],
)
def test_invalid_arrays(z, values, message):
    with pytest.raises(ValueError, match=f"reference_at: {message}"):
        kd.reference_at(z, values)


@pytest.mark.slow
def test_command_line(model, tmp_path):
    kd.save(model, tmp_path / "m.safetensors")
    z, values = points()
    np.savetxt(tmp_path / "r.csv", np.concatenate([z, values], axis=1), delimiter=",", header="t,x,u", comments="")
    command = ["evaluate", str(tmp_path / "m.safetensors"), "--against", str(tmp_path / "r.csv"), "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    expected = kd.evaluate(model, reference=kd.reference_at(z, values)).relative_l2
    assert f'"relative_l2": {expected:.6g}'[:20] in result.stdout
    process = subprocess.run(
        [sys.executable, "-m", "kdpinn_jax", *command[:-2], "no.csv"], capture_output=True, text=True
    )
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1
    assert "no such file" in process.stderr.lower()
    alone = CliRunner().invoke(main, [*command[:2], "--columns", "1,2,3"])
    assert "--columns selects columns of the file of --against, which is missing" in alone.output
