"""What a training shows: nothing without a terminal, and one replaced line in a notebook."""

import sys
import types

import jax
import pytest

import kdpinn_jax as kd


@pytest.fixture
def notebook(monkeypatch):
    """The display of a Jupyter kernel: the lines that each output showed, in order."""
    outputs = []

    class Handle:
        def __init__(self, lines):
            self.lines = lines

        def update(self, content, *, raw):
            assert raw
            self.lines.append(content["text/plain"])

    def display(content, *, raw, display_id):
        assert raw
        assert display_id
        outputs.append([content["text/plain"]])
        return Handle(outputs[-1])

    shell = types.SimpleNamespace(kernel=object())
    for name, members in (("IPython", {"get_ipython": lambda: shell}), ("IPython.display", {"display": display})):
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return outputs


def train(decay, **options):
    return kd.train_teacher(decay, jax.random.key(0), stages=(kd.Adam(40), kd.LBFGS(7)), **options)


def test_progress_is_silent_without_a_terminal(decay, capfd):
    train(decay)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("progress", [None, True])
def test_a_notebook_shows_one_line(decay, notebook, capfd, progress):
    model = train(decay, progress=progress, time_budget=600.0)
    ((*_, last),) = notebook
    report = model.training[-1]
    loss = report.history["loss"][-1]
    assert last.startswith(f"LBFGS (2/2): step {report.steps} of 7, loss {loss:.2e}, ")
    assert last.endswith(" s of at most 600 s")
    assert capfd.readouterr() == ("", "")


def test_a_notebook_shows_nothing_if_it_is_not_wanted(decay, notebook):
    train(decay, progress=False)
    assert notebook == []


def test_python_without_a_kernel_is_no_notebook(decay, notebook, monkeypatch, capfd):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    train(decay)
    assert notebook == []
    assert capfd.readouterr() == ("", "")


def test_a_model_prints_on_ten_lines(decay, untrained):
    model = train(decay, track_error=True)
    lines = repr(model).splitlines()
    assert len(lines) <= 10
    assert lines[0] == "Model of 'decay': (t) -> (u) at k = 1"
    assert "  network     1-6-1 tanh, 19 parameters in float64" in lines
    assert any(line.startswith("  result      loss ") and "relative L2 error" in line for line in lines)
    assert lines[-1].startswith(f"  warnings    {len(kd.diagnose(model.training))}")
    many = repr(kd.Model(decay, model.network, model.params, model.coefficients, model.training * 20))
    assert "  training    37 earlier stages" in many
    assert len(many.splitlines()) <= 10
    assert repr(untrained(decay)).endswith("training    none")


def test_a_batch_of_models_prints(decay):
    stages = (kd.Adam(2),)
    batch = jax.vmap(lambda key, k: kd.train_teacher(decay, key, stages=stages, coefficients={"k": k}))
    texts = []
    models = batch(jax.random.split(jax.random.key(0), 2), jax.numpy.ones(2))
    assert repr(models).endswith("training    a batch")
    jax.eval_shape(lambda model: texts.append(repr(model)) or model, models)
    assert "Model of 'decay'" in texts[0]


def test_metrics_print_as_a_table():
    errors = {"u": kd.Errors(1e-3, 2e-3, 3e-3)}
    members = tuple(kd.FamilyMember({"nu": 0.01 * i}, kd.Errors(1.0, 2.0, 3.0)) for i in range(8))
    metrics = kd.Metrics("u", errors, {"mild right": errors}, {"residual": 0.5}, members)
    lines = repr(metrics).splitlines()
    assert lines[0].split() == ["RMSE", "rel.", "L2", "maximum"]
    assert lines[1].split() == ["u", "1.0e-03", "2.0e-03", "3.0e-03"]
    assert lines[2].startswith("u, mild right ")
    assert lines[-3] == "… and 3 members with smaller errors"
    assert lines[-1].split() == ["residual", "5.0e-01"]
    assert len({line.rindex("e-0") for line in lines[1:3]}) == 1
    assert str(kd.Metrics("", {}, {}, {})) == "no reference solution"
