"""Pictures are made, whole or not at all, for every number of inputs."""

import jax
import matplotlib.image
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.evaluation import plots
from kdpinn_jax.models.history import read_history, write_history


def untrained(problem, hidden=(4,)):
    target = kd.objective(problem, kd.MLP(hidden))
    params = kd.init_params(problem, target.network, jax.random.key(0))
    return kd.Model(problem, target.network, params, dict(problem.coefficients))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["burgers", "taylor_green"])
def test_solution_of_two_and_three_inputs(tmp_path, name):
    model = untrained(kd.problems.ALL[name])
    plots.solution({"teacher": model, "student": model}, tmp_path / "p.png", metrics={"student": kd.evaluate(model)})
    picture = matplotlib.image.imread(tmp_path / "p.png")
    assert picture.shape[1] > picture.shape[0] > 100
    assert np.unique(picture.reshape(-1, picture.shape[2]), axis=0).shape[0] > 100  # colours, not a blank page


def test_the_error_of_a_vector_is_the_length_of_its_error(tmp_path, monkeypatch):
    """A flow of the right speed in the wrong direction is wrong by twice its speed."""
    problem, drawn = kd.problems.ALL["taylor_green"], {}
    monkeypatch.setattr(plots, "reference_values", lambda problem, coefficients, z: -np.asarray(model(z)))
    row = plots._row
    monkeypatch.setattr(plots, "_row", lambda f, p, values, *a, **k: (drawn.update(values), row(f, p, values, *a, **k)))
    model = untrained(problem)
    plots.solution({"model": model}, tmp_path / "p.png")
    speed = drawn["reference"]
    assert speed.max() > 0.1
    np.testing.assert_allclose(drawn["model"], 2 * speed, rtol=1e-12)


def test_solution_of_one_input_without_a_reference(tmp_path, decay):
    import dataclasses

    plots.solution({"model": untrained(dataclasses.replace(decay, reference=None))}, tmp_path / "p.png")
    assert matplotlib.image.imread(tmp_path / "p.png").shape[0] > 100


@pytest.mark.slow
def test_history_of_two_stages(tmp_path, decay):
    model = kd.train_teacher(decay, jax.random.key(0), network=kd.MLP((3,)), stages=(kd.Adam(4), kd.LBFGS(2)))
    plots.history({"teacher": model.training}, tmp_path / "h.png")
    assert matplotlib.image.imread(tmp_path / "h.png").shape[0] > 100


@pytest.mark.slow
def test_a_history_comes_back_from_its_file_and_makes_the_same_picture(tmp_path, decay):
    model = kd.train_teacher(decay, jax.random.key(0), network=kd.MLP((3,)), stages=(kd.Adam(45), kd.Adam(4)))
    write_history({"teacher": model.training}, tmp_path / "h.csv")
    found = read_history(tmp_path / "h.csv")
    assert [len(report.record_steps) for report in found["teacher"]] == [3, 1]
    plots.history({"teacher": model.training}, tmp_path / "a.png")
    plots.history(found, tmp_path / "b.png")
    a, b = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in "ab")
    np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_stage_without_a_record_is_drawn_without_a_warning(tmp_path, decay):
    model = kd.train_teacher(
        decay, jax.random.key(0), network=kd.MLP((3,)), stages=(kd.Adam(4),), time_budget=1e-9
    )  # compiling alone takes longer
    assert not len(model.training[0].record_steps)
    plots.history({"teacher": model.training}, tmp_path / "h.png")
    write_history({"teacher": model.training}, tmp_path / "h.csv")
    with pytest.raises(ValueError, match="holds no records"):
        read_history(tmp_path / "h.csv")


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "role,stage,step,seconds,loss\nteacher,Adam,x,0,1\n", "\0"])
def test_what_is_no_history_is_one_line(tmp_path, content):
    (tmp_path / "h.csv").write_text(content)
    with pytest.raises(ValueError, match=r"h\.csv: not a history") as caught:
        read_history(tmp_path / "h.csv")
    assert "\n" not in str(caught.value)


def test_nothing_to_draw_is_an_error_and_leaves_no_file(tmp_path):
    for draw in (plots.solution, plots.history):
        with pytest.raises(ValueError, match="empty"):
            draw({}, tmp_path / "p.png")
    assert not list(tmp_path.iterdir())
