"""The command line: what it writes, what it says, and how it ends; with real processes where signals matter."""

import contextlib
import csv
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import kdpinn_jax as kd
from kdpinn_jax.base.lock import only_writer
from kdpinn_jax.cli import _host, main
from kdpinn_jax.evaluation import evaluate as _metrics
from kdpinn_jax.models.history import read_history
from kdpinn_jax.pde import networks as _network
from kdpinn_jax.runs import run as _run
from kdpinn_jax.training import monitor as _monitor
from kdpinn_jax.training import recipes as _recipes

FILES = {"teacher.safetensors", "student.safetensors", "result.json", "history.csv", "solution.png", "history.png"}
#: Steps of the short stages below, the student's imitation of its teacher in front.
STEPS = {"teacher": [4, 2], "student": [3, 4, 2]}


@pytest.fixture(autouse=True, scope="module")
def own_cache_and_short_recipes(tmp_path_factory):
    """Compiled programs are kept away from the user's cache folder; a few steps in place of thousands."""
    patch = pytest.MonkeyPatch()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    for stages in ("_second_order", "_published"):
        patch.setattr(f"kdpinn_jax.training.recipes.{stages}", lambda *_: (kd.Adam(4), kd.Adam(2)))
    patch.setattr("kdpinn_jax.training.recipes.IMITATE", (kd.Adam(3),))
    patch.setattr("kdpinn_jax.models.report.NO_PROGRESS", 0.0)  # a few steps get nowhere, and need not say so
    patch.setattr("kdpinn_jax.models.report.WRONG", np.inf)
    yield
    patch.undo()


def kdpinn(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a run writes."""
    out = tmp_path_factory.mktemp("runs") / "burgers"
    words = ["--layers", "4", "--teacher-layers", "6", "--weight", "soft_target=3", "--quiet", "--json"]
    result = kdpinn("run", "burgers", "--out", out, *words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((out / "result.json").read_text())
    return out


def test_run_writes_everything_and_nothing_else(folder):
    assert {path.name for path in folder.iterdir()} == FILES


def test_result_holds_what_was_done(folder):
    result = json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)
    assert (result["problem"], result["seed"], result["preset"], result["recipe"]) == (
        "burgers",
        0,
        "default",
        "default",
    )
    assert result["interrupted"] is False
    assert result["versions"]["jax"] == jax.__version__
    assert result["weights"] == {"residual": 1.0, "soft_target": 3.0}  # hard conditions leave no other term
    for role, layers in (("teacher", [2, 6, 1]), ("student", [2, 4, 1])):
        found, model = result[role], kd.load(folder / f"{role}.safetensors")
        assert found["layers"] == layers
        metrics = kd.evaluate(model)
        assert found["relative_l2"] == pytest.approx(metrics.relative_l2, rel=1e-9)
        assert found["rmse"] == pytest.approx(metrics.rmse, rel=1e-9)
        assert found["float32"]["u"]["relative_l2"] == pytest.approx(metrics.relative_l2, rel=1e-3)
        assert [stage["steps"] for stage in found["stages"]] == STEPS[role]
        assert all("completed" in stage["ended"] for stage in found["stages"])
        assert set(found["latency"]) == {"1", "1024", "10000"}
        for case in found["latency"].values():
            assert 0 < case["minimum"] <= case["median"] <= case["p95"] <= case["p99"]
    assert result["latency_conditions"]["pinned"] is hasattr(os, "sched_setaffinity")


def test_history_has_every_term_of_both(folder):
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["role"], row["stage"], row["step"]) for row in rows] == [
        (role, "Adam", str(steps)) for role in ("teacher", "student") for steps in STEPS[role]
    ]
    for row in rows:
        imitation = row["step"] == "3"
        assert float(row["loss"]) >= float(row["soft_target" if imitation else "residual"]) > 0
        assert float(row["relative_l2"]) > 0
        assert bool(row["soft_target"]) is (row["role"] == "student")
        assert bool(row["residual"]) is not imitation
    for role, stages in read_history(folder / "history.csv").items():
        assert [(report.stage, report.steps, len(report.record_steps)) for report in stages] == [
            ("Adam", steps, 1) for steps in STEPS[role]
        ]
        last = [row for row in rows if row["role"] == role][-1]
        assert {name: float(text) for name, text in last.items() if text and name in stages[-1].history} == {
            name: values[-1] for name, values in stages[-1].history.items()
        }


def test_train_then_distill_is_what_run_does(folder, tmp_path):
    teacher, student = tmp_path / "t.safetensors", tmp_path / "s.safetensors"
    assert kdpinn("train", "burgers", "--layers", "6", "--quiet", "--out", teacher).exit_code == 0
    words = ["--layers", "4", "--weight", "soft_target=3", "--quiet"]
    assert kdpinn("distill", teacher, *words, "--out", student).exit_code == 0
    z = np.random.default_rng(0).uniform((0, -1), (1, 1), (9, 2))
    for ours, theirs in ((teacher, "teacher"), (student, "student")):
        np.testing.assert_array_equal(kd.load(ours)(z), kd.load(folder / f"{theirs}.safetensors")(z))


@pytest.mark.slow
def test_options_reach_the_training(tmp_path):
    out = tmp_path / "t.safetensors"
    words = ["--conditions", "soft", "--coefficient", "sigma=0.3", "--activation", "sine", "--weight", "terminal=2"]
    done = kdpinn("train", "black_scholes", *words, "--layers", "5,3", "--seed", "7", "--quiet", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    model = kd.load(out)
    assert (model.layers, model.network.activation, model.problem.conditions) == ((2, 5, 3, 1), "sine", "soft")
    assert model.coefficients["sigma"] == 0.3
    assert json.loads(done.stdout)["parameters"] == model.parameters == 37


def test_evaluate_predict_and_plot(folder, tmp_path):
    student = folder / "student.safetensors"
    found = json.loads(kdpinn("evaluate", student, "--json").stdout)
    assert found["relative_l2"] == pytest.approx(kd.evaluate(kd.load(student)).relative_l2, rel=1e-9)
    assert "mild right" in kdpinn("evaluate", student).stdout
    (tmp_path / "in.csv").write_text("0.5,0.5\n2,0\n")
    done = kdpinn("predict", student, "--points", tmp_path / "in.csv", "--out", tmp_path / "out.npy")
    assert done.exit_code == 0, done.output
    assert "1 of 2 points lie outside" in done.stderr
    done = kdpinn("predict", student, "--points", tmp_path / "in.csv", "--out", tmp_path / "out.csv", "--json")
    assert json.loads(done.stdout) == {"out": str(tmp_path / "out.csv"), "points": 2, "outside": 1}
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy")[:, 2:], kd.load(student)(np.array([[0.5, 0.5], [2.0, 0.0]])), rtol=1e-4, atol=1e-5
    )
    assert kdpinn("plot", folder / "teacher.safetensors", student, "--out", tmp_path / "p.png").exit_code == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert kdpinn("plot", folder / "history.csv", "--out", tmp_path / "h.png").exit_code == 0
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


def test_a_runs_folder_is_drawn_anew(folder, tmp_path):
    for name in ("teacher.safetensors", "history.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    done = kdpinn("plot", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["out"] == [str(tmp_path / "solution.png"), str(tmp_path / "history.png")]
    assert (tmp_path / "history.png").read_bytes() == (folder / "history.png").read_bytes()
    assert (tmp_path / "solution.png").read_bytes() != (folder / "solution.png").read_bytes()  # the teacher's alone
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"student.safetensors", "result.json"}


#: Prints which expensive libraries a command line imported.
LIGHT = """
import sys
from kdpinn_jax.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted({"jax", "flax", "scipy", "matplotlib"} & set(sys.modules)))
"""


def imported_by(*words):
    done = subprocess.run([sys.executable, "-c", LIGHT, *map(str, words)], capture_output=True, text=True)
    return done, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("command", [None, *main.commands])
def test_help_answers_without_jax_and_has_an_example(command):
    done, imported = imported_by(*([command] if command else []), "--help")
    assert f"\n  kdpinn {command or 'run'}" in done.stdout
    assert (done.returncode, imported) == (0, "[]")


@pytest.mark.parametrize(
    "words",
    [
        ("run", "burger", "--out", "x"),
        ("run", "burgers"),
        ("run", "burgers", "--out", "x", "--preset", "quik"),
        ("run", "burgers", "--out", "x", "--coefficient", "mu=1"),
        ("run", "burgers", "--out", "x", "--weight", "initial=1"),
        ("train", "black_scholes", "--out", "x", "--range", "sgma=0.1,0.2"),
        ("sweep", "burgers", "--out", "x", "--vary", "mu=1,2"),
        ("search", "teacher.safetensors", "--out", "x", "--engine", "gpu"),
        ("export", "model.safetensors", "--out", "x", "--format", "d"),
        ("bench", "model.safetensors", "--methods", "jit"),
        ("plot", "model.safetensors"),
    ],
)
def test_usage_errors_answer_without_jax(words):
    done, imported = imported_by(*words)
    assert (done.returncode, imported) == (2, "[]"), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_usage_errors_about_a_model_answer_without_jax(folder):
    for words in (
        ("distill", folder / "teacher.safetensors", "--out", "x", "--weight", "rsidual=1"),
        ("sweep", folder / "teacher.safetensors", "--out", "x", "--vary", "mu=1,2"),
    ):
        done, imported = imported_by(*words)
        assert (done.returncode, imported) == (2, "[]"), done.stderr


def test_the_command_line_knows_the_names_of_the_library():
    """It repeats them, because importing the library takes seconds."""
    from kdpinn_jax.cli import _outline, _types
    from kdpinn_jax.runs.search import ENGINES, NetworkFamily
    from kdpinn_jax.serving.bench.methods import METHODS
    from kdpinn_jax.serving.export import FORMATS
    from kdpinn_jax.training.members import known_names

    assert _types.PRESETS == _recipes.PRESETS
    assert _types.RECIPES == _recipes.RECIPES
    assert tuple(_network.ACTIVATIONS) == _types.ACTIVATIONS
    assert tuple(ENGINES) == _types.ENGINES
    assert tuple(FORMATS) == _types.FORMATS
    assert tuple(METHODS) == _types.METHODS
    assert (NetworkFamily().widths, NetworkFamily().depths) == (_types.WIDTHS, _types.DEPTHS)
    stages = (kd.Adam(), kd.LBFGS(), kd.SSBroyden(), kd.LevenbergMarquardt())
    numbers = {name for name, kind in known_names(kd.problems.ALL["burgers"], stages).items() if kind == "stage"}
    assert numbers == set(_types.STAGE_NUMBERS)
    outlines = {
        name: _outline.Outline(name, tuple(p.terms), p.enforced, tuple(p.coefficients))
        for name, p in kd.problems.ALL.items()
    }
    assert _outline.shipped() == outlines


def test_help_names_every_word_an_option_takes():
    words = {name: option.metavar.split("|") for option in main.commands["run"].params if (name := option.name)
             in ("preset", "recipe", "activation")}  # fmt: skip
    assert words == {
        "preset": list(_recipes.PRESETS),
        "recipe": list(_recipes.RECIPES),
        "activation": list(_network.ACTIVATIONS),
    }


def test_a_reader_who_leaves_is_no_error():
    process = start("problems")
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def stop(*_, **__):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_during_evaluation_keeps_what_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(_metrics, "evaluate", stop)
    out = tmp_path / "t.safetensors"
    done = kdpinn("train", "burgers", "--layers", "6", "--quiet", "--out", out)
    assert (done.exit_code, done.stderr) == (1, "Error: interrupted; the files finished so far are kept\n")
    assert kd.load(out).training[-1].steps == 2


@pytest.mark.slow
def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch):
    """Stopped in the student's training: the run that goes on ends as the one that was not stopped."""
    out, look, looks = tmp_path / "run", _monitor._relative_l2, itertools.count(1)

    def stopped_at_the_fourth(*arguments):
        if next(looks) == 4:
            stop()
        return look(*arguments)

    monkeypatch.setattr("kdpinn_jax.runs.run.prepared_latency", lambda _: contextlib.nullcontext(dict))
    monkeypatch.setattr(_monitor, "_relative_l2", stopped_at_the_fourth)
    words = ["--layers", "4", "--teacher-layers", "6", "--weight", "soft_target=3", "--quiet", "--out", out]
    done = kdpinn("run", "burgers", *words, "--checkpoint-every", "0.001")
    assert done.exit_code == 1
    assert "teacher.safetensors, student.safetensors; --resume continues the training" in done.stderr
    assert (out / "checkpoint" / "student" / "latest.safetensors").exists()
    with only_writer(out):
        done = kdpinn("run", "burgers", *words, "--resume")
    expected = f"Error: {out} is being written by another run (process {os.getpid()}); wait for it, or name another"
    assert (done.exit_code, expected in done.stderr) == (1, True), done.stderr
    done = kdpinn("run", "burgers", *words, "--resume", "--seed", "1")
    assert (done.exit_code, "of a training that differs in seed" in done.stderr) == (1, True), done.stderr
    done = kdpinn("run", "burgers", *words, "--resume")
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == FILES
    for role in ("teacher", "student"):
        ours, theirs = (kd.load(where / f"{role}.safetensors") for where in (out, folder))
        jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
        assert [report.steps for report in ours.training] == STEPS[role]


def test_an_interrupted_run_never_mixes_with_an_earlier_one(folder, tmp_path, monkeypatch):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def untrained(*_):
        interrupted = kd.TrainingInterrupted(kd.Fit({}, ()))
        interrupted.model = dataclasses.replace(kd.load(folder / "student.safetensors"), training=())
        raise interrupted

    monkeypatch.setattr(_run, "distill_with", untrained)
    done = kdpinn("run", "burgers", "--layers", "4", "--teacher-layers", "6", "--quiet", "--out", tmp_path)
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "; saved in " in done.stderr
    assert "teacher.safetensors" in done.stderr
    kept = {"teacher.safetensors", "history.csv", "result.json", "checkpoint"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["interrupted"] is True
    assert "student" not in result
    assert result["teacher"]["latency"] is None


@pytest.mark.slow
def test_a_time_budget_is_whole_for_one_training_and_shared_by_two(folder, tmp_path, monkeypatch):
    given = []

    def budget_of(function):
        def call(*args, time_budget, **options):
            given.append(time_budget)
            return function(*args, time_budget=time_budget, **options)

        return call

    for name in ("train_teacher", "distill"):
        monkeypatch.setattr(_run, name, budget_of(getattr(kd, name)))
    words = ["--quiet", "--time-budget", "40", "--out", tmp_path / "m.safetensors"]
    assert kdpinn("train", "burgers", "--layers", "6", *words).exit_code == 0
    assert kdpinn("distill", folder / "teacher.safetensors", "--layers", "4", *words).exit_code == 0
    assert given == [40, 40]
    monkeypatch.setattr("kdpinn_jax.runs.run.prepared_latency", lambda _: contextlib.nullcontext(dict))
    words = ["--layers", "4", "--teacher-layers", "6", "--quiet", "--time-budget", "40", "--out", tmp_path / "run"]
    assert kdpinn("run", "burgers", *words).exit_code == 0
    recipe = kd.recipe(kd.problems.ALL["burgers"])
    assert sum(given[2:]) == pytest.approx(40)
    assert given[2] / given[3] == pytest.approx(recipe.teacher_seconds / recipe.student_seconds)


@pytest.mark.slow
def test_a_run_outlives_a_failed_latency_measurement(tmp_path, monkeypatch):
    def fails():
        raise RuntimeError("latency measurement failed: no room")

    monkeypatch.setattr("kdpinn_jax.runs.run.prepared_latency", lambda _: contextlib.nullcontext(fails))
    done = kdpinn("run", "burgers", "--layers", "4", "--teacher-layers", "6", "--quiet", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert done.stderr == "warning: latency measurement failed: no room; latency is null in result.json\n"
    assert "not measured" in done.stdout
    assert json.loads((tmp_path / "result.json").read_text())["student"]["latency"] is None


def test_no_traceback_where_the_cache_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    before = jax.config.jax_compilation_cache_dir
    _host.set_up_jax()
    assert jax.config.jax_compilation_cache_dir == before


def test_problems_lists_all():
    listed = json.loads(kdpinn("problems", "--json").stdout)
    assert set(listed) == set(kd.problems.ALL)
    assert listed["burgers"]["terms"] == ["residual", "initial", "boundary"]
    assert all(name in kdpinn("problems").stdout for name in listed)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["run", "burger"], 2, "did you mean 'burgers'"),
        (["run", "burgers", "--preset", "quik"], 2, "did you mean 'quick'"),
        (["run", "burgers", "--recipe", "papers"], 2, "did you mean 'paper'"),
        (["run", "burgers", "--activation", "tan"], 2, "did you mean 'tanh'"),
        (["run", "burgers", "--conditions", "firm"], 2, "unknown"),
        (["run", "burgers", "--weight", "soft_targt=1"], 2, "did you mean 'soft_target'"),
        (["run", "burgers", "--weight", "residual=-1"], 2, "negative"),
        (["run", "burgers", "--weight", "residual"], 2, "NAME=VALUE"),
        (["run", "burgers", "--weight", "residual=nan"], 2, "finite"),
        (["run", "burgers", "--coefficient", "mu=1"], 2, "Known: nu"),
        (["run", "burgers", "--layers", "0"], 2, "hidden"),
        (["run", "burgers", "--layers", "-3,4"], 2, "hidden"),
        (["run", "burgers", "--layers", "twenty"], 2, "hidden"),
        (["run", "burgers", "--layers", "99999"], 2, "hidden"),
        (["run", "burgers", "--layers", "4096,4096"], 2, "weights"),
        (["run", "burgers", "--weight", "initial=2"], 2, "--conditions soft"),
        (["run", "burgers", "--weight", "intial=2", "--conditions", "soft"], 2, "did you mean 'initial'"),
        (["run", "burgers", "--seed", "4294967296"], 2, "seed"),
        (["--bogus", "run"], 2, "--bogus"),
        (["run", "burgers", "--layers", ",".join(["2"] * 99)], 2, "hidden"),
        (["run", "burgers", "--seed", "-1"], 2, "seed"),
        (["run", "burgers", "--time-budget", "0"], 2, "positive"),
        (["run", "burgers", "--time-budget", "nan"], 2, "positive"),
        (["run", "lid_driven_cavity", "--weight", "walls=2", "--layers", "2"], 2, "hard conditions satisfy this term"),
        (["train", "burgers", "--weight", "soft_target=1"], 2, "unknown"),
        (["flun"], 2, "No such command"),
    ],
)
def test_usage_errors_are_one_line(tmp_path, words, code, expected):
    done = kdpinn(*words, *(["--out", tmp_path / "out"] if len(words) > 1 else []))
    assert done.exit_code == code
    assert expected in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_what_is_read_is_never_written_over(folder, tmp_path):
    model, points = tmp_path / "m.safetensors", tmp_path / "in.csv"
    model.write_bytes((folder / "student.safetensors").read_bytes())
    points.write_text("0.5,0.5\n")
    for words, code in (
        (["distill", model, "--out", model], 2),
        (["predict", model, "--points", points, "--out", points], 2),
        (["predict", model, "--points", points, "--out", tmp_path / "out.txt"], 2),
        (["plot", model], 2),
        (["plot", model, "--out", tmp_path / "p.bmp"], 2),
        (["plot", model, folder, "--out", tmp_path / "p.png"], 2),
        (["plot", points, "--out", tmp_path / "p.png"], 1),
        (["plot", tmp_path], 1),
    ):
        done = kdpinn(*words)
        assert (done.exit_code, len(done.stderr.splitlines())) == (code, 1), (words, done.stderr)
        assert done.stderr.startswith("Error: ")
    assert points.read_text() == "0.5,0.5\n"
    assert {path.name for path in tmp_path.iterdir()} == {"m.safetensors", "in.csv"}


def test_files_that_cannot_be_used(folder, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes((folder / "student.safetensors").read_bytes()[:-7])
    (tmp_path / "blocked").write_text("a file, where a folder is asked for")
    (tmp_path / "in.csv").write_text("0.5\n")
    student = folder / "student.safetensors"
    for words in (
        ["evaluate", tmp_path / "none.safetensors"],
        ["evaluate", bad],
        ["evaluate", tmp_path],
        ["distill", bad, "--out", tmp_path / "s.safetensors"],
        ["train", "burgers", "--out", tmp_path / "no" / "folder.safetensors"],
        ["train", "burgers", "--out", tmp_path],
        ["run", "burgers", "--out", tmp_path / "blocked"],
        ["predict", student, "--points", tmp_path / "in.csv", "--out", tmp_path / "out.csv"],
        ["predict", student, "--points", tmp_path / "none.csv", "--out", tmp_path / "out.csv"],
    ):
        done = kdpinn(*words)
        assert done.exit_code == 1, words
        assert done.stderr.startswith("Error: "), words
        assert len(done.stderr.splitlines()) == 1, words
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("form", "files"),
    [("c", {"u.h", "u.c"}), ("onnx", {"u.onnx"}), ("stablehlo", {"u.jax_export", "u.mlir", "u.json"})],
)
def test_export(folder, tmp_path, form, files):
    """The errors measured by the run are told by the export."""
    pytest.importorskip("onnx")
    student = folder / "student.safetensors"
    done = kdpinn("export", student, "--format", form, "--name", "u", "--out", tmp_path / "new" / "folder", "--json")
    assert done.exit_code == 0, done.output
    assert {Path(path).name for path in json.loads(done.stdout)["files"]} == files
    contents = {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()}
    assert set(contents) == files
    told = f"relative L2 {kd.read_header(student)['errors']['relative_l2']:.2e}"
    assert any(told.encode() in content for content in contents.values())


def test_exports_that_cannot_be(folder, tmp_path, monkeypatch):
    student, out = folder / "student.safetensors", tmp_path / "out"
    (tmp_path / "blocked").write_text("a file, where a folder is asked for")
    monkeypatch.setitem(sys.modules, "onnx", None)
    for words, code, expected in (
        (["--format", "fortran", "--out", out], 2, "format 'fortran' is unknown"),
        (["--format", "c", "--name", "2fast", "--out", out], 1, "not an identifier of C"),
        (["--format", "c", "--out", tmp_path / "blocked"], 1, "cannot write into"),
        (["--format", "onnx", "--out", out], 1, "pip install 'kdpinn-jax[onnx]'"),
    ):
        done = kdpinn("export", student, *words)
        assert done.exit_code == code, words
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1
    damaged = tmp_path / "damaged.safetensors"
    kd.save(kd.load(student), damaged)
    content = damaged.read_bytes().replace(b'"errors": null', b'"errors": 1234')
    damaged.write_bytes(content.replace(b'\\"errors\\": null', b'\\"errors\\": 1234'))
    done = kdpinn("export", damaged, "--format", "c", "--out", out)
    assert (done.exit_code, "header damaged" in done.stderr) == (1, True), done.stderr
    assert not out.exists()


#: The command line, which makes a file at its second look at the error of what it trains: one is on record then.
WATCHED = """
import pathlib, sys
from kdpinn_jax import cli
from kdpinn_jax.training import monitor
look, looks = monitor._relative_l2, []
def seen(*args):
    looks.append(1)
    if len(looks) > 1:
        pathlib.Path(sys.argv[1]).touch()
    return look(*args)
monitor._relative_l2 = seen
cli.main(sys.argv[2:])
"""


def start(*words, watched=None):
    """A real process."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    program = ["-m", "kdpinn_jax"] if watched is None else ["-c", WATCHED, str(watched)]
    program = [sys.executable, *program, *map(str, words)]
    return subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_ctrl_c_keeps_what_there_is(tmp_path):
    out = tmp_path / "run"
    words = ["--layers", "4", "--teacher-layers", "4", "--time-budget", "30"]
    process = start("run", "burgers", "--out", out, *words)
    wait_for((out / "teacher.safetensors").exists, process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in messages
    assert messages.strip().splitlines()[-1].startswith("Error: interrupted")
    assert sum("Error" in line for line in messages.splitlines()) == 1
    assert kd.load(out / "teacher.safetensors").layers == (2, 4, 1)
    assert not [path for path in out.iterdir() if path.name not in {*FILES, "checkpoint"}]


@pytest.mark.slow
def test_ctrl_c_while_training_saves_the_model_so_far(tmp_path):
    out = tmp_path / "t.safetensors"
    words = ["train", "burgers", "--out", out, "--layers", "4", "--preset", "best", "--time-budget", "600"]
    process = start(*words, watched=tmp_path / "training")
    wait_for((tmp_path / "training").exists, process)
    process.send_signal(signal.SIGTERM)  # what a cluster sends; it is a Ctrl-C like any other
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "interrupted" in messages
    assert "; saved in " in messages
    assert kd.load(out).training[-1].why().startswith("interrupted")


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_written_file(tmp_path):
    """Killed at several moments; whatever has a final name is whole."""
    for delay in (0.0, 0.4, 1.5):
        out = tmp_path / f"run{delay}"
        process = start("run", "burgers", "--out", out, "--layers", "3", "--teacher-layers", "3", "--time-budget", "2")
        wait_for(lambda out=out: (out / "teacher.safetensors").exists(), process)
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert kd.load(out / "teacher.safetensors").layers == (2, 3, 1)
        for path in out.iterdir():
            if path.name == "student.safetensors":
                kd.load(path)
            if path.name == "result.json":
                json.loads(path.read_text())
