"""The command line: its files, messages and exit codes. Tests of signals use separate processes."""

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
import warnings
from pathlib import Path

import click
import jax
import numpy as np
import pytest
from click.testing import CliRunner

import kdpinn_jax as kd
from kdpinn_jax.base.lock import only_writer
from kdpinn_jax.cli import _host, main
from kdpinn_jax.evaluation import evaluate as _evaluate
from kdpinn_jax.models.history import read_history
from kdpinn_jax.pde import networks as _networks
from kdpinn_jax.runs import run as _run
from kdpinn_jax.training import monitor as _monitor
from kdpinn_jax.training import recipes as _recipes

FILES = {"teacher.safetensors", "student.safetensors", "result.json", "history.csv", "solution.png", "history.png"}
#: Steps of the short stages below; the student's first stage imitates its teacher.
STEPS = {"teacher": [4, 2], "student": [3, 4, 2]}


@pytest.fixture(autouse=True, scope="module")
def temporary_cache_and_short_recipes(tmp_path_factory):
    """Do not use the user's cache of compiled programs, and train for a few steps instead of thousands."""
    patch = pytest.MonkeyPatch()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    for stages in ("_second_order", "_published"):
        patch.setattr(f"kdpinn_jax.training.recipes.{stages}", lambda *_: (kd.Adam(4), kd.Adam(2)))
    patch.setattr("kdpinn_jax.training.recipes.IMITATE", (kd.Adam(3),))
    patch.setattr("kdpinn_jax.models.diagnose.NO_PROGRESS", 0.0)  # so few steps would otherwise cause warnings
    patch.setattr("kdpinn_jax.models.diagnose.WRONG", np.inf)
    yield
    patch.undo()


def kdpinn(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a complete run."""
    out = tmp_path_factory.mktemp("runs") / "burgers"
    options = ["--layers", "4", "--teacher-layers", "6", "--weight", "soft_target=3", "--quiet", "--json"]
    result = kdpinn("run", "burgers", "--out", out, *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((out / "result.json").read_text())
    return out


def test_run_writes_exactly_its_files(folder):
    assert {path.name for path in folder.iterdir()} == FILES


def test_result_describes_the_run(folder):
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
        entry, model = result[role], kd.load(folder / f"{role}.safetensors")
        assert entry["layers"] == layers
        metrics = kd.evaluate(model)
        assert entry["relative_l2"] == pytest.approx(metrics.relative_l2, rel=1e-9)
        assert entry["rmse"] == pytest.approx(metrics.rmse, rel=1e-9)
        assert entry["float32"]["u"]["relative_l2"] == pytest.approx(metrics.relative_l2, rel=1e-3)
        assert [stage["steps"] for stage in entry["stages"]] == STEPS[role]
        assert all("completed" in stage["ended"] for stage in entry["stages"])
        assert set(entry["latency"]) == {"1", "1024", "10000"}
        for times in entry["latency"].values():
            assert 0 < times["minimum"] <= times["median"] <= times["p95"] <= times["p99"]
    assert result["latency_conditions"]["pinned"] is hasattr(os, "sched_setaffinity")


def test_history_has_every_term_of_teacher_and_student(folder):
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


def test_train_and_distill_give_the_models_of_run(folder, tmp_path):
    teacher, student = tmp_path / "t.safetensors", tmp_path / "s.safetensors"
    assert kdpinn("train", "burgers", "--layers", "6", "--quiet", "--out", teacher).exit_code == 0
    options = ["--layers", "4", "--weight", "soft_target=3", "--quiet"]
    assert kdpinn("distill", teacher, *options, "--out", student).exit_code == 0
    z = np.random.default_rng(0).uniform((0, -1), (1, 1), (9, 2))
    for path, role in ((teacher, "teacher"), (student, "student")):
        np.testing.assert_array_equal(kd.load(path)(z), kd.load(folder / f"{role}.safetensors")(z))


@pytest.mark.slow
def test_options_reach_the_training(tmp_path):
    out = tmp_path / "t.safetensors"
    options = ["--conditions", "soft", "--coefficient", "sigma=0.3", "--activation", "sine", "--weight", "terminal=2"]
    result = kdpinn(
        "train", "black_scholes", *options, "--layers", "5,3", "--seed", "7", "--quiet", "--out", out, "--json"
    )
    assert result.exit_code == 0, result.output
    model = kd.load(out)
    assert (model.layers, model.network.activation, model.problem.conditions) == ((2, 5, 3, 1), "sine", "soft")
    assert model.coefficients["sigma"] == 0.3
    assert json.loads(result.stdout)["parameters"] == model.parameters == 37


def test_evaluate_predict_and_plot(folder, tmp_path):
    student = folder / "student.safetensors"
    errors = json.loads(kdpinn("evaluate", student, "--json").stdout)
    assert errors["relative_l2"] == pytest.approx(kd.evaluate(kd.load(student)).relative_l2, rel=1e-9)
    assert "mild right" in kdpinn("evaluate", student).stdout
    (tmp_path / "in.csv").write_text("0.5,0.5\n2,0\n")
    result = kdpinn("predict", student, "--points", tmp_path / "in.csv", "--out", tmp_path / "out.npy")
    assert result.exit_code == 0, result.output
    assert "1 of 2 points lie outside" in result.stderr
    result = kdpinn("predict", student, "--points", tmp_path / "in.csv", "--out", tmp_path / "out.csv", "--json")
    assert json.loads(result.stdout) == {"out": str(tmp_path / "out.csv"), "points": 2, "outside": 1}
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy")[:, 2:], kd.load(student)(np.array([[0.5, 0.5], [2.0, 0.0]])), rtol=1e-4, atol=1e-5
    )
    assert kdpinn("plot", folder / "teacher.safetensors", student, "--out", tmp_path / "p.png").exit_code == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert kdpinn("plot", folder / "history.csv", "--out", tmp_path / "h.png").exit_code == 0
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


def test_predict_states_which_columns_it_ignores(folder, tmp_path):
    table, out = tmp_path / "table.dat", tmp_path / "out.npy"
    table.write_text("% x  t  u\n0.5 0.25 7\n")
    arguments = ["predict", folder / "student.safetensors", "--points", table, "--out", out]
    for options, note in (([], f"note: {table}: reads the columns t, x and ignores u\n"), (["--columns", "t,x"], "")):
        result = kdpinn(*arguments, *options)
        assert (result.exit_code, result.stderr) == (0, note)
        assert np.load(out)[0, :2].tolist() == [0.25, 0.5]
    result = kdpinn(*arguments, "--columns", "t,,x")
    assert result.exit_code == 2
    assert "'t,,x' is not a list of columns such as t,x or 1,2" in result.stderr


def test_plot_redraws_the_figures_of_a_run(folder, tmp_path):
    for name in ("teacher.safetensors", "history.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    result = kdpinn("plot", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["out"] == [str(tmp_path / "solution.png"), str(tmp_path / "history.png")]
    assert (tmp_path / "history.png").read_bytes() == (folder / "history.png").read_bytes()
    assert (tmp_path / "solution.png").read_bytes() != (folder / "solution.png").read_bytes()  # the teacher's alone
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"student.safetensors", "result.json"}


#: Runs a command line and prints which expensive libraries it imported.
PRINT_IMPORTS = """
import sys
from kdpinn_jax.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted({"jax", "flax", "scipy", "matplotlib"} & set(sys.modules)))
"""


def run_and_list_imports(*arguments):
    command = [sys.executable, "-c", PRINT_IMPORTS, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True)
    return process, process.stdout.splitlines()[-1]


@pytest.mark.parametrize("command", [None, *main.commands])
def test_help_has_an_example_and_does_not_import_jax(command):
    process, imports = run_and_list_imports(*([command] if command else []), "--help")
    assert f"\n  kdpinn {command or 'run'}" in process.stdout
    assert (process.returncode, imports) == (0, "[]")


@pytest.mark.parametrize(
    "arguments",
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
def test_usage_errors_do_not_import_jax(arguments):
    process, imports = run_and_list_imports(*arguments)
    assert (process.returncode, imports) == (2, "[]"), process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_usage_errors_about_a_model_do_not_import_jax(folder):
    for arguments in (
        ("distill", folder / "teacher.safetensors", "--out", "x", "--weight", "rsidual=1"),
        ("sweep", folder / "teacher.safetensors", "--out", "x", "--vary", "mu=1,2"),
    ):
        process, imports = run_and_list_imports(*arguments)
        assert (process.returncode, imports) == (2, "[]"), process.stderr


def test_the_command_line_knows_the_names_of_the_library():
    """The command line has its own copies of these names, because importing the library takes seconds."""
    from kdpinn_jax.cli import _outline, _types
    from kdpinn_jax.runs.search_plan import ENGINES, NetworkFamily
    from kdpinn_jax.serving.bench.methods import METHODS
    from kdpinn_jax.serving.export import FORMATS
    from kdpinn_jax.training.members import known_names

    assert _types.PRESETS == _recipes.PRESETS
    assert _types.RECIPES == _recipes.RECIPES
    assert tuple(_networks.ACTIVATIONS) == _types.ACTIVATIONS
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
    assert _outline.shipped_outlines() == outlines


def test_a_warning_is_one_line_on_stderr():
    @click.group(cls=_host.Commands)
    def group():
        pass

    @group.command()
    def work():
        warnings.simplefilter("always")
        warnings.warn("slow\nbecause of \x1b[2J", RuntimeWarning, stacklevel=1)

    result = CliRunner().invoke(group, ["work"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "warning: slow because of \\x1b[2J\n"


def test_help_lists_the_choices_of_an_option():
    context = click.Context(main.commands["run"])
    options = {option.name: option for option in context.command.params}
    choices = {name: options[name].make_metavar(context).split("|") for name in ("preset", "recipe", "activation")}
    assert choices == {
        "preset": list(_recipes.PRESETS),
        "recipe": list(_recipes.RECIPES),
        "activation": list(_networks.ACTIVATIONS),
    }


def test_a_closed_stdout_is_not_reported():
    process = start("problems")
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def interrupt(*_, **__):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_during_evaluation_keeps_the_trained_model(tmp_path, monkeypatch):
    monkeypatch.setattr(_evaluate, "evaluate", interrupt)
    out = tmp_path / "t.safetensors"
    result = kdpinn("train", "burgers", "--layers", "6", "--quiet", "--out", out)
    assert (result.exit_code, result.stderr) == (1, "Error: interrupted; the files completed so far are kept\n")
    assert kd.load(out).training[-1].steps == 2


@pytest.mark.slow
def test_an_interrupted_run_is_resumed(folder, tmp_path, monkeypatch):
    """A run that is interrupted while the student is trained, and then resumed, has the same result."""
    out, relative_l2, calls = tmp_path / "run", _monitor._relative_l2, itertools.count(1)

    def interrupt_at_the_fourth_call(*arguments):
        if next(calls) == 4:
            interrupt()
        return relative_l2(*arguments)

    monkeypatch.setattr("kdpinn_jax.runs.run.prepared_latency", lambda *_: contextlib.nullcontext(dict))
    monkeypatch.setattr(_monitor, "_relative_l2", interrupt_at_the_fourth_call)
    options = ["--layers", "4", "--teacher-layers", "6", "--weight", "soft_target=3", "--quiet", "--out", out]
    result = kdpinn("run", "burgers", *options, "--checkpoint-every", "0.001")
    assert result.exit_code == 1
    assert "teacher.safetensors, student.safetensors; --resume continues the training" in result.stderr
    assert (out / "checkpoint" / "student" / "latest.safetensors").exists()
    with only_writer(out):
        result = kdpinn("run", "burgers", *options, "--resume")
    expected = f"Error: {out} is being written by another run (process {os.getpid()}); wait for it, or choose another"
    assert (result.exit_code, expected in result.stderr) == (1, True), result.stderr
    result = kdpinn("run", "burgers", *options, "--resume", "--seed", "1")
    assert (result.exit_code, "of a training that differs in seed" in result.stderr) == (1, True), result.stderr
    result = kdpinn("run", "burgers", *options, "--resume")
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == FILES
    for role in ("teacher", "student"):
        resumed, expected = (kd.load(run / f"{role}.safetensors") for run in (out, folder))
        jax.tree.map(np.testing.assert_array_equal, resumed.params, expected.params)
        assert [report.steps for report in resumed.training] == STEPS[role]


def test_an_interrupted_run_deletes_the_files_of_an_earlier_one(folder, tmp_path, monkeypatch):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def interrupt_before_the_first_step(*_):
        interrupted = kd.TrainingInterrupted(kd.Fit({}, ()))
        interrupted.model = dataclasses.replace(kd.load(folder / "student.safetensors"), training=())
        raise interrupted

    monkeypatch.setattr(_run, "distill_with", interrupt_before_the_first_step)
    result = kdpinn("run", "burgers", "--layers", "4", "--teacher-layers", "6", "--quiet", "--out", tmp_path)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "; saved in " in result.stderr
    assert "teacher.safetensors" in result.stderr
    kept = {"teacher.safetensors", "history.csv", "result.json", "checkpoint"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["interrupted"] is True
    assert "student" not in content
    assert content["teacher"]["latency"] is None


@pytest.mark.slow
def test_run_divides_the_time_budget_between_its_two_trainings(folder, tmp_path, monkeypatch):
    """``train`` and ``distill`` use the whole budget."""
    budgets = []

    def record_budget(function):
        def call(*args, time_budget, **options):
            budgets.append(time_budget)
            return function(*args, time_budget=time_budget, **options)

        return call

    for name in ("train_teacher", "distill"):
        monkeypatch.setattr(_run, name, record_budget(getattr(kd, name)))
    options = ["--quiet", "--time-budget", "40", "--out", tmp_path / "m.safetensors"]
    assert kdpinn("train", "burgers", "--layers", "6", *options).exit_code == 0
    assert kdpinn("distill", folder / "teacher.safetensors", "--layers", "4", *options).exit_code == 0
    assert budgets == [40, 40]
    monkeypatch.setattr("kdpinn_jax.runs.run.prepared_latency", lambda *_: contextlib.nullcontext(dict))
    options = ["--layers", "4", "--teacher-layers", "6", "--quiet", "--time-budget", "40", "--out", tmp_path / "run"]
    assert kdpinn("run", "burgers", *options).exit_code == 0
    recipe = kd.recipe(kd.problems.ALL["burgers"])
    assert sum(budgets[2:]) == pytest.approx(40)
    assert budgets[2] / budgets[3] == pytest.approx(recipe.teacher_seconds / recipe.student_seconds)


@pytest.mark.slow
def test_a_run_continues_after_a_failed_latency_measurement(tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("latency measurement failed: no room")

    monkeypatch.setattr("kdpinn_jax.runs.run.prepared_latency", lambda *_: contextlib.nullcontext(fail))
    result = kdpinn("run", "burgers", "--layers", "4", "--teacher-layers", "6", "--quiet", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stderr == "warning: latency measurement failed: no room; latency is null in result.json\n"
    assert "not measured" in result.stdout
    assert json.loads((tmp_path / "result.json").read_text())["student"]["latency"] is None


def test_an_unwritable_cache_is_ignored(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache = jax.config.jax_compilation_cache_dir
    _host.set_up_jax()
    assert jax.config.jax_compilation_cache_dir == cache


def test_problems_lists_all():
    listed = json.loads(kdpinn("problems", "--json").stdout)
    assert set(listed) == set(kd.problems.ALL)
    assert listed["burgers"]["terms"] == ["residual", "initial", "boundary"]
    assert all(name in kdpinn("problems").stdout for name in listed)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
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
def test_usage_errors_are_one_line(tmp_path, arguments, code, expected):
    result = kdpinn(*arguments, *(["--out", tmp_path / "out"] if len(arguments) > 1 else []))
    assert result.exit_code == code
    assert expected in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_input_files_are_never_overwritten(folder, tmp_path):
    model, points = tmp_path / "m.safetensors", tmp_path / "in.csv"
    model.write_bytes((folder / "student.safetensors").read_bytes())
    points.write_text("0.5,0.5\n")
    for arguments, code in (
        (["distill", model, "--out", model], 2),
        (["predict", model, "--points", points, "--out", points], 2),
        (["predict", model, "--points", points, "--out", tmp_path / "out.txt"], 2),
        (["plot", model], 2),
        (["plot", model, "--out", tmp_path / "p.bmp"], 2),
        (["plot", model, folder, "--out", tmp_path / "p.png"], 2),
        (["plot", points, "--out", tmp_path / "p.png"], 1),
        (["plot", tmp_path], 1),
    ):
        result = kdpinn(*arguments)
        assert (result.exit_code, len(result.stderr.splitlines())) == (code, 1), (arguments, result.stderr)
        assert result.stderr.startswith("Error: ")
    assert points.read_text() == "0.5,0.5\n"
    assert {path.name for path in tmp_path.iterdir()} == {"m.safetensors", "in.csv"}


def test_unusable_files_are_reported_in_one_line(folder, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes((folder / "student.safetensors").read_bytes()[:-7])
    (tmp_path / "blocked").write_text("a file in place of a folder")
    (tmp_path / "in.csv").write_text("0.5\n")
    student = folder / "student.safetensors"
    for arguments in (
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
        result = kdpinn(*arguments)
        assert result.exit_code == 1, arguments
        assert result.stderr.startswith("Error: "), arguments
        assert len(result.stderr.splitlines()) == 1, arguments
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("form", "files"),
    [("c", {"u.h", "u.c"}), ("onnx", {"u.onnx"}), ("stablehlo", {"u.jax_export", "u.mlir", "u.json"})],
)
def test_export(folder, tmp_path, form, files):
    """The exported files state the errors that were measured in the run."""
    pytest.importorskip("onnx")
    student = folder / "student.safetensors"
    result = kdpinn("export", student, "--format", form, "--name", "u", "--out", tmp_path / "new" / "folder", "--json")
    assert result.exit_code == 0, result.output
    assert {Path(path).name for path in json.loads(result.stdout)["files"]} == files
    contents = {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()}
    assert set(contents) == files
    error = f"relative L2 {kd.read_header(student)['errors']['relative_l2']:.2e}"
    assert any(error.encode() in content for content in contents.values())


def test_export_with_a_fixed_batch(folder, tmp_path):
    onnx = pytest.importorskip("onnx")
    student = folder / "student.safetensors"
    result = kdpinn("export", student, "--format", "onnx", "--batch", "3", "--name", "u", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    (tensor,) = onnx.load(tmp_path / "u.onnx").graph.input
    assert tensor.type.tensor_type.shape.dim[0].dim_value == 3


def test_failed_exports_are_reported_in_one_line(folder, tmp_path, monkeypatch):
    student, out = folder / "student.safetensors", tmp_path / "out"
    (tmp_path / "blocked").write_text("a file in place of a folder")
    monkeypatch.setitem(sys.modules, "onnx", None)
    for arguments, code, expected in (
        (["--format", "fortran", "--out", out], 2, "format 'fortran' is unknown"),
        (["--format", "c", "--name", "2fast", "--out", out], 1, "not a C identifier"),
        (["--format", "c", "--out", tmp_path / "blocked"], 1, "cannot write into"),
        (["--format", "c", "--batch", "1", "--out", out], 2, "option '--batch' has no effect with --format c"),
        (["--format", "onnx", "--batch", "0", "--out", out], 2, "0 is not in the range"),
        (["--format", "onnx", "--out", out], 1, "pip install 'kdpinn-jax[onnx]'"),
    ):
        result = kdpinn("export", student, *arguments)
        assert result.exit_code == code, arguments
        assert expected in result.stderr
        assert len(result.stderr.splitlines()) == 1
    damaged = tmp_path / "damaged.safetensors"
    kd.save(kd.load(student), damaged)
    content = damaged.read_bytes().replace(b'"errors": null', b'"errors": 1234')
    damaged.write_bytes(content.replace(b'\\"errors\\": null', b'\\"errors\\": 1234'))
    result = kdpinn("export", damaged, "--format", "c", "--out", out)
    assert (result.exit_code, "header damaged" in result.stderr) == (1, True), result.stderr
    assert not out.exists()


#: Runs a command line that creates a file when training computes its error for the second time. Then a record exists.
SIGNAL_TRAINING = """
import pathlib, sys
from kdpinn_jax import cli
from kdpinn_jax.training import monitor
relative_l2, calls = monitor._relative_l2, []
def count_calls(*args):
    calls.append(1)
    if len(calls) > 1:
        pathlib.Path(sys.argv[1]).touch()
    return relative_l2(*args)
monitor._relative_l2 = count_calls
cli.main(sys.argv[2:])
"""


def start(*arguments, training_file=None):
    """Start ``kdpinn`` in a separate process, which creates ``training_file`` when it trains."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    program = ["-m", "kdpinn_jax"] if training_file is None else ["-c", SIGNAL_TRAINING, str(training_file)]
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_ctrl_c_keeps_the_files_so_far(tmp_path):
    out = tmp_path / "run"
    options = ["--layers", "4", "--teacher-layers", "4", "--time-budget", "30"]
    process = start("run", "burgers", "--out", out, *options)
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
def test_ctrl_c_during_training_saves_the_model_so_far(tmp_path):
    out = tmp_path / "t.safetensors"
    arguments = ["train", "burgers", "--out", out, "--layers", "4", "--preset", "best", "--time-budget", "600"]
    process = start(*arguments, training_file=tmp_path / "training")
    wait_for((tmp_path / "training").exists, process)
    process.send_signal(signal.SIGTERM)  # sent by clusters; it has the effect of Ctrl-C
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "interrupted" in messages
    assert "; saved in " in messages
    assert kd.load(out).training[-1].why().startswith("interrupted")


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_written_file(tmp_path):
    """The run is killed at different times, and every file with a final name is complete."""
    for delay in (0.0, 1.0):
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
