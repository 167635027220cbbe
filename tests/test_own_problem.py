"""``--problem FILE.py:NAME``: problems of the user's own on the command line, and the source in model files."""

import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import kdpinn_jax as kd
from kdpinn_jax.base.problem_file import ProblemFile, parse_problem_file
from kdpinn_jax.cli import main
from kdpinn_jax.models.source import describe_source, find_source, suggestion
from kdpinn_jax.problems.from_file import ProblemFileError, problems_from_files

#: A shipped problem as scripts know it.
BURGERS = kd.problems.ALL["burgers"]
FAMILY = kd.parametric(BURGERS, nu=(0.005, 0.05))
#: The problem u' = -k u, without a reference, with its constant in a file next to it.
MINE = """
import dataclasses
import kdpinn_jax as kd
from neighbour import RATE

print("executed as", __name__)

def residual(u, z, c):
    return kd.derivative(u, 0)(z) + c["k"] * u(z)

mine = kd.Problem(
    name="burgers", axes=("t",), fields=("u",), lower=(0,), upper=(1,), coefficients={"k": RATE},
    terms={"residual": kd.Term(kd.box((0,), (1,)), residual, count=32),
           "initial": kd.Term(kd.box((0,), (0,)), kd.dirichlet(1.0), count=2)},
    teacher=kd.MLP((3,)), student=kd.MLP((2,)),
)
hard = dataclasses.replace(mine, name="hard", ansatz=lambda net, z, c: 1 + z * net(z), enforced=("initial",))
table = {"mine": mine}

def make():
    return mine

if __name__ == "__main__":
    raise SystemExit("not to be executed")
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Work in a folder with the file of a problem, train for a few steps, and forget the modules afterwards."""
    for stages in ("_second_order", "_published"):
        monkeypatch.setattr(f"kdpinn_jax.training.recipes.{stages}", lambda *_: (kd.Adam(4), kd.Adam(2)))
    monkeypatch.setattr("kdpinn_jax.training.recipes.IMITATE", (kd.Adam(3),))
    monkeypatch.setattr("kdpinn_jax.models.diagnose.NO_PROGRESS", 0.0)
    monkeypatch.chdir(tmp_path)
    Path("neighbour.py").write_text("RATE = 2.0\n")
    Path("mine.py").write_text(MINE)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


def kdpinn(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def own(text="mine.py:mine"):
    (problem,) = problems_from_files([parse_problem_file(text)])
    return problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mine.py:heat", ("mine.py", "heat")),
        ("mine.py", ("mine.py", None)),
        (r"C:\work\mine.py:heat", (r"C:\work\mine.py", "heat")),
        (r"C:\work\mine.py", (r"C:\work\mine.py", None)),
        ("a.py:b/mine.py:heat", ("a.py:b/mine.py", "heat")),
        ("~/é a/mine.PY:é", ("~/é a/mine.PY", "é")),
    ],
)
def test_file_and_name(text, expected):
    assert parse_problem_file(text) == expected
    assert str(parse_problem_file(text)) == text


@pytest.mark.parametrize(
    "text", ["", "mine", "mine.txt:heat", ".py", "a/.py:x", "mine.py:", "mine.py:a.b", "mine.py:t['a']"]
)
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match=r"FILE\.py:NAME, such as mine\.py:heat$"):
        parse_problem_file(text)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own("~/mine.py:mine").coefficients == {"k": 2.0}


def test_a_file_is_executed_once_as_a_module(capsys):
    mine, hard = problems_from_files([ProblemFile("mine.py", "mine"), ProblemFile("mine.py", "hard")])
    assert capsys.readouterr() == ("", "executed as mine\n")  # stdout is for results
    assert hard.terms["residual"] is mine.terms["residual"]
    assert pickle.loads(pickle.dumps(mine)) == mine
    assert str(Path.cwd()) not in sys.path
    Path("mine.py").write_text(MINE.replace('c["k"] * u', 'c["k"] + u'))  # of the same size, in the same second
    assert own() != mine


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import jax\n1 / 0", "mine.py, line 2: ZeroDivisionError: division by zero"),
        ("def f(:\n  pass", "mine.py, line 1: SyntaxError: invalid syntax"),
        ("import nothing_of_the_kind", "mine.py, line 1: ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("import sys\n\nsys.exit(3)", "mine.py, line 3: SystemExit: 3"),
        ("import neighbour\nneighbour.f()", "neighbour.py, line 2: NameError: name 'x' is not defined"),
        ("raise ValueError('steps=0')", "mine.py, line 1: steps=0"),
        ("mine = 3", "mine.py: 'mine' is a int; expected a kd.Problem: give a kd.Problem a name of its own"),
        ("", "mine.py: 'mine' is unknown; Known: none"),
    ],
)
def test_errors_of_the_file_are_one_line(text, expected):
    Path("neighbour.py").write_text("def f():\n    x\n")
    Path("mine.py").write_text(text)
    result = kdpinn("run", "--problem", "mine.py:mine", "--out", "out")
    assert result.stderr.startswith(f"Error: {expected}")
    assert (result.exit_code, len(result.stderr.splitlines()), result.stdout) == (1, 1, "")
    assert not Path("out").exists()


def test_a_file_that_is_not_text():
    Path("mine.py").write_bytes(b"\0\xff")
    with pytest.raises(ProblemFileError, match=r"^mine\.py.*Error: "):
        own()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (":table", "'table' is a dict; expected a kd.Problem"),
        (":make", "'make' is a function; expected a kd.Problem: call it in the file, such as mine = kd.Problem(…)"),
        (":mien", "'mien' is unknown; did you mean 'mine'? Known: mine, hard"),
        ("", "mine.py has 2 problems: mine, hard; give mine.py:NAME"),
    ],
)
def test_names_that_are_no_problem(name, expected):
    with pytest.raises(ProblemFileError) as error:
        own(f"mine.py{name}")
    assert expected in str(error.value)


def test_a_file_named_like_a_module_is_refused():
    Path("signal.py").write_text("")
    with pytest.raises(ProblemFileError, match="has the name of the module 'signal', which is in use; rename the file"):
        own("signal.py:x")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], "missing argument 'PROBLEM'; give either the name of a shipped problem or --problem FILE.py:NAME"),
        (["run", "burgers", "--problem", "mine.py:mine"], "burgers and --problem mine.py:mine are two problems"),
        (["run", "mine.py:mine"], "use the option --problem mine.py:mine"),
        (["sweep", "mine.py:mine", "--vary", "seed=0:2"], "use the option --problem mine.py:mine"),
        (["sweep", "--vary", "seed=0:2"], "missing argument 'PROBLEM'"),
        (["train", "--problem", "none.py:mine"], "none.py: no such file; give FILE.py:NAME"),
        (["train", "--problem", "folder.py:mine"], "folder.py: not a regular file"),
        (["train", "--problem", "mine"], "'mine' is not FILE.py:NAME"),
        (["train", "--problem", "mine.py:mine", "--weight", "intial=2"], "did you mean 'initial'?"),
        (["train", "--problem", "mine.py:mine", "--coefficient", "nu=2"], "coefficient 'nu' is unknown"),
        (["train", "--problem", "mine.py:mine", "--range", "nu=1,2"], "coefficient 'nu' is unknown"),
        (["train", "--problem", "mine.py:mine", "--conditions", "hard"], "has no ansatz for hard conditions"),
        (["sweep", "--problem", "mine.py:mine", "--vary", "nu=1,2"], "'nu' cannot be varied"),
    ],
)
def test_usage_errors(arguments, expected):
    Path("folder.py").mkdir()
    result = kdpinn(*arguments, "--out", "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr.splitlines()[-1]
    assert not Path("out").exists()


def saved(untrained, problem, path="m.safetensors"):
    kd.save(untrained(problem, 1, kd.MLP((2,))), path)
    return path


def test_a_model_remembers_its_source(untrained, tmp_path):
    mine = own()
    path = saved(untrained, kd.parametric(mine, k=(1.0, 3.0)))
    expected = {"file": "mine.py", "absolute": str(tmp_path / "mine.py"), "name": "mine"}
    assert kd.read_header(path)["source"] == expected
    assert describe_source(kd.with_conditions(own("mine.py:hard"), "soft")) == expected | {"name": "hard"}
    assert suggestion(expected) == "mine.py:mine"
    assert suggestion(expected | {"absolute": "/none/mine.py", "file": "a b/mine.py"}) == "'a b/mine.py:mine'"
    for damaged in (None, 3, {}, {"file": 1}):
        assert suggestion(damaged) == "FILE.py:NAME"
    # The shipped problem of the same name is found by its name.
    for shipped in (BURGERS, FAMILY, kd.with_conditions(BURGERS, "soft")):
        assert find_source(shipped) is None


def test_a_model_of_another_problem_is_refused_without_its_file(untrained):
    """Nothing is executed, although the file is known, and the shipped problem of the same name is not taken."""
    path = saved(untrained, own())
    Path("mine.py").write_text("raise SystemExit")
    for arguments in (
        *(["evaluate"], ["export", "--format", "c", "--out", "x"], ["plot", "--out", "p.png"], ["bench"]),
        *(["distill", "--out", "s"], ["search", "--out", "se"], ["sweep", "--vary", "seed=0:2", "--out", "sw"]),
    ):
        result = kdpinn(*arguments, path)
        assert result.exit_code == 1
        reason = "problem 'burgers' is the user's own and not the one that is shipped with the library"
        assert result.stderr == f"Error: {path}: {reason}; give the option --problem mine.py:mine\n"
    with pytest.raises(kd.ModelFileError, match=r"\(it was mine.py:mine\); pass your own as load\(path, problem=…\)"):
        kd.load(path)


def test_each_model_has_its_problem(untrained):
    mine, hard = problems_from_files([ProblemFile("mine.py", "mine"), ProblemFile("mine.py", "hard")])
    saved(untrained, mine, "a.safetensors")
    saved(untrained, kd.with_conditions(hard, "soft"), "b.safetensors")
    both = ["--problem", "mine.py:hard", "--problem", "mine.py:mine"]
    result = kdpinn("plot", "a.safetensors", "b.safetensors", *both, "--out", "p.png")
    assert "the models differ in problem" in result.stderr  # so both were read
    for arguments, expected in (
        (["plot", "a.safetensors", *both, "--out", "p.png"], "is problem 'hard', but the model solves burgers"),
        (["bench", "b.safetensors", *both], "is problem 'burgers', but the model solves hard"),
        (["plot", "history.csv", *both, "--out", "p.png"], "has no effect with a training history"),
        (["bench", "a.safetensors", *["--problem", "mine.py:mine"] * 2], "two problems are named 'burgers'"),
    ):
        result = kdpinn(*arguments)
        assert (result.exit_code, expected in result.stderr) == (2, True), result.stderr
    result = kdpinn("evaluate", "b.safetensors", "--problem", "mine.py:mine")
    assert "--problem gave 'burgers'; give the option --problem mine.py:hard" in result.stderr


def test_an_edited_problem_is_reported_once(untrained):
    saved(untrained, own())
    Path("mine.py").write_text(MINE.replace("+ c[", "- c["))
    result = kdpinn("evaluate", "m.safetensors", "--problem", "mine.py:mine", "--json")
    assert result.stderr.splitlines()[1:] == [
        "warning: m.safetensors: problem 'burgers' has changed since the model was trained (term 'residual'); its "
        "residuals and errors refer to the present definition"
    ]
    Path("mine.py").write_text(MINE.replace('c["k"] * u', 'c["q"] * u'))
    result = kdpinn("evaluate", "m.safetensors", "--problem", "mine.py:mine")
    assert "residual of term 'residual' raises KeyError: 'q'" in result.stderr.splitlines()[-1]


def test_an_error_in_a_function_is_reported_with_its_line(untrained):
    saved(untrained, own())
    Path("mine.py").write_text(MINE.replace("teacher=", "embed=lambda z: z[{}['q']],\n    teacher="))
    result = kdpinn("evaluate", "m.safetensors", "--problem", "mine.py:mine")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1:] == ["Error: mine.py, line 15: KeyError: 'q'"]


def test_warnings_are_one_line_each(monkeypatch, untrained):
    def warn(*_, **__):
        for _ in range(2):
            warnings.warn("two\nlines", RuntimeWarning, stacklevel=2)

    saved(untrained, own())
    monkeypatch.setattr("kdpinn_jax.models.files._compare_definition", warn)
    result = kdpinn("evaluate", "m.safetensors", "--problem", "mine.py:mine")
    assert result.stderr.splitlines()[1:] == ["warning: two lines"]


@pytest.mark.slow
def test_run_sweep_and_search(monkeypatch):
    """Without a reference the tables say so; the latency is measured in another process, which executes the file."""
    option = ["--problem", "mine.py:mine"]
    result = kdpinn("run", *option, "--range", "k=1,3", "--out", "r", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("no reference") == 2
    content = json.loads(Path("r/result.json").read_text())
    assert set(content["student"]["latency"]) == {"1", "1024", "10000"}
    assert content["ranges"] == {"k": [1.0, 3.0]}
    result = kdpinn("evaluate", "r/student.safetensors", *option)
    assert "no reference" in result.stdout
    result = kdpinn("sweep", *option, "--vary", "k=1,2", "--out", "sw", "--quiet")
    assert result.exit_code == 0, result.output
    assert "ordered by their loss at fresh points" in result.stdout
    result = kdpinn("search", "sw/member-000.safetensors", *option, "--out", "se")
    assert "has no reference solution" in result.stderr.splitlines()[-1]
    Path("mine.py").write_text(MINE.replace("teacher=", "reference=lambda c: lambda z: z,\n    teacher="))
    short = ["--widths", "3", "--depths", "1", "--steps", "1", "--rungs", "1", "--quiet"]
    monkeypatch.setattr("kdpinn_jax.runs.search._member", lambda *a: kd.Member(a[2], a[1], (kd.Adam(1),), start=a[5]))
    result = kdpinn("search", "sw/member-000.safetensors", *option, "--out", "se", *short)
    assert result.exit_code == 0, result.output
    assert kd.load("se/student.safetensors", problem=own()).layers == (1, 3, 1)


@pytest.mark.slow
def test_resume_notices_another_problem_of_the_same_name(monkeypatch):
    options = ["--problem", "mine.py:mine", "--out", "t.safetensors", "--quiet"]
    monkeypatch.setattr("kdpinn_jax.training.checkpoint.Checkpoint.remove", lambda _: None)
    assert kdpinn("train", *options).exit_code == 0
    first = kd.load("t.safetensors", problem=own())
    assert kdpinn("train", *options, "--resume").exit_code == 0
    jax.tree.map(np.testing.assert_array_equal, kd.load("t.safetensors", problem=own()).params, first.params)
    Path("mine.py").write_text(MINE.replace("+ c[", "- c["))
    result = kdpinn("train", *options, "--resume")
    assert result.exit_code == 1
    assert "is the checkpoint of a training that differs in term 'residual'" in result.stderr


@pytest.mark.slow
def test_a_script_and_then_the_command_line(tmp_path):
    """A model that a script has saved, used by real processes."""
    save = """
    import jax
    jax.config.update("jax_enable_x64", True)
    model = kd.train_teacher(mine, jax.random.key(0), stages=(kd.Adam(3),), progress=False)
    kd.save(model, "m.safetensors")
"""
    script = MINE.replace('\n    raise SystemExit("not to be executed")\n', save)
    Path("mine.py").write_text(script)
    Path("points.csv").write_text("t\n0.5\n")

    def call(*arguments):
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )

    assert call("mine.py").returncode == 0
    predict = ["-m", "kdpinn_jax", "predict", "m.safetensors", "--points", "points.csv", "--out", "values.npy"]
    assert call(*predict).stderr.endswith("give the option --problem mine.py:mine\n")
    process = call(*predict, "--problem", "mine.py:mine")
    assert (process.returncode, process.stdout) == (0, "1 points in values.npy\n"), process.stderr
    expected = kd.load("m.safetensors", problem=own())(np.array([[0.5]]))
    np.testing.assert_allclose(np.load("values.npy")[:, 1:], expected, rtol=1e-5, atol=1e-6)
