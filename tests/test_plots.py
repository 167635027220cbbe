"""Pictures are made, whole or not at all, for every number of inputs."""

import jax
import matplotlib.image
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax import plots


def untrained(problem, hidden=(4,)):
    target = kd.objective(problem, kd.MLP(hidden))
    params = kd.init_params(problem, target.network, jax.random.key(0))
    return kd.Model(problem, target.network, params, dict(problem.coefficients))


@pytest.mark.parametrize("name", ["burgers", "taylor_green"])
def test_solution_of_two_and_three_inputs(tmp_path, name):
    model = untrained(kd.problems.ALL[name])
    plots.solution({"teacher": model, "student": model}, tmp_path / "p.png", metrics={"student": kd.evaluate(model)})
    picture = matplotlib.image.imread(tmp_path / "p.png")
    assert picture.shape[1] > picture.shape[0] > 100
    assert np.unique(picture.reshape(-1, picture.shape[2]), axis=0).shape[0] > 100  # colours, not a blank page


def test_solution_of_one_input_without_a_reference(tmp_path, decay):
    import dataclasses

    plots.solution({"model": untrained(dataclasses.replace(decay, reference=None))}, tmp_path / "p.png")
    assert matplotlib.image.imread(tmp_path / "p.png").shape[0] > 100


def test_history_of_two_stages(tmp_path, decay):
    model = kd.train_teacher(decay, jax.random.key(0), network=kd.MLP((3,)), stages=(kd.Adam(4), kd.LBFGS(2)))
    plots.history({"teacher": model.training}, tmp_path / "h.png")
    assert matplotlib.image.imread(tmp_path / "h.png").shape[0] > 100


def test_nothing_to_draw_is_an_error_and_leaves_no_file(tmp_path):
    for draw in (plots.solution, plots.history):
        with pytest.raises(ValueError, match="empty"):
            draw({}, tmp_path / "p.png")
    assert not list(tmp_path.iterdir())
