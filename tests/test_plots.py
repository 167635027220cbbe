"""Pictures are written atomically, for any number of inputs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.evaluation import plots
from kdpinn_jax.models.history import read_history, write_history


def untrained(problem, hidden=(4,)):
    objective = kd.objective(problem, kd.MLP(hidden))
    params = kd.init_params(problem, objective.network, jax.random.key(0))
    return kd.Model(problem, objective.network, params, dict(problem.coefficients))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["burgers", "taylor_green"])
def test_solution_of_two_and_three_inputs(tmp_path, name):
    model = untrained(kd.problems.ALL[name])
    plots.solution({"teacher": model, "student": model}, tmp_path / "p.png", metrics={"student": kd.evaluate(model)})
    picture = matplotlib.image.imread(tmp_path / "p.png")
    assert picture.shape[1] > picture.shape[0] > 100
    assert np.unique(picture.reshape(-1, picture.shape[2]), axis=0).shape[0] > 100  # not a blank page


def test_the_error_of_a_vector_is_the_length_of_its_error(tmp_path, monkeypatch):
    """The error of a flow with the right speed and the opposite direction is twice its speed."""
    model, drawn, draw_row = untrained(kd.problems.ALL["taylor_green"]), {}, plots._row

    def recording_row(figure, panels, values, *args, **options):
        drawn.update(values)
        draw_row(figure, panels, values, *args, **options)

    monkeypatch.setattr(plots, "reference_values", lambda problem, coefficients, z: -np.asarray(model(z)))
    monkeypatch.setattr(plots, "_row", recording_row)
    plots.solution({"model": model}, tmp_path / "p.png")
    speed = drawn["reference"]
    assert speed.max() > 0.1
    np.testing.assert_allclose(drawn["model"], 2 * speed, rtol=1e-12)


def test_more_coordinates_are_drawn_in_a_plane(tmp_path, monkeypatch):
    """Time is at its end, other coordinates are at their middle, and points outside the domain stay empty."""
    drawn, draw_row = {}, plots._row

    def recording_row(figure, panels, values, *args, **options):
        drawn.update(values)
        draw_row(figure, panels, values, *args, **options)

    monkeypatch.setattr(plots, "_row", recording_row)
    problem = kd.Problem(
        name="four",
        axes=("t", "x", "y", "z"),
        fields=("u",),
        lower=(0, 0, 0, 0),
        upper=(2, 1, 1, 4),
        terms={"residual": kd.Term(kd.box((0,) * 4, (2, 1, 1, 4)), kd.dirichlet(0.0), count=4)},
        reference=lambda c: lambda z: jnp.stack([z[0] + 10 * z[3] + z[1]]) / jnp.where(z[1] < z[2], 1, 0),
        inside=lambda z: z[1] < z[2],
    )
    plots.solution({"model": untrained(problem)}, tmp_path / "p.png")
    reference = drawn["reference"].reshape(plots._RESOLUTION, -1)
    x = np.linspace(0, 1, plots._RESOLUTION)
    outside = x[:, None] >= x[None, :]
    np.testing.assert_array_equal(np.isnan(reference), outside)
    np.testing.assert_allclose(reference[~outside], np.broadcast_to(22 + x[:, None], outside.shape)[~outside])
    assert matplotlib.image.imread(tmp_path / "p.png").shape[0] > 100


def test_the_boundary_of_a_domain_is_drawn(tmp_path, untrained, monkeypatch):
    """The contour consists of points on the boundary, and the picture is masked outside."""
    import matplotlib.axes

    lines, contour = [], matplotlib.axes.Axes.contour
    monkeypatch.setattr(matplotlib.axes.Axes, "contour", lambda *a, **k: lines.append(contour(*a, **k)) or lines[-1])
    domain = kd.geometry.rectangle((0, 0), (1, 1)) - kd.geometry.disc((0.5, 0.5), 0.25)
    problem = kd.Problem(
        "p",
        ("x", "y"),
        ("u",),
        domain.lower,
        domain.upper,
        {"residual": kd.Term(domain.interior(), lambda u, z, c: kd.laplacian(u, (0, 1))(z))},
        inside=domain,
    )
    plots.solution({"model": untrained(problem)}, tmp_path / "p.png")
    z = np.concatenate([path.vertices for path in lines[0].get_paths()])
    np.testing.assert_allclose(jax.vmap(domain.level)(z), 0, atol=1e-3)
    assert np.sum(np.hypot(*(z - 0.5).T) < 0.3) > 50


def test_solution_of_one_input_without_a_reference(tmp_path, decay):
    plots.solution({"model": untrained(replace(decay, reference=None))}, tmp_path / "p.png")
    assert matplotlib.image.imread(tmp_path / "p.png").shape[0] > 100


@pytest.mark.slow
def test_history_of_two_stages(tmp_path, decay):
    model = kd.train_teacher(decay, jax.random.key(0), network=kd.MLP((3,)), stages=(kd.Adam(4), kd.LBFGS(2)))
    plots.history({"teacher": model.training}, tmp_path / "h.png")
    assert matplotlib.image.imread(tmp_path / "h.png").shape[0] > 100


@pytest.mark.slow
def test_a_history_read_from_its_file_gives_the_same_picture(tmp_path, decay):
    model = kd.train_teacher(decay, jax.random.key(0), network=kd.MLP((3,)), stages=(kd.Adam(45), kd.Adam(4)))
    write_history({"teacher": model.training}, tmp_path / "h.csv")
    trainings = read_history(tmp_path / "h.csv")
    assert [len(report.record_steps) for report in trainings["teacher"]] == [3, 1]
    plots.history({"teacher": model.training}, tmp_path / "a.png")
    plots.history(trainings, tmp_path / "b.png")
    a, b = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in "ab")
    np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_stage_without_records_is_drawn_without_a_warning(tmp_path, decay):
    # Compiling alone takes longer than the budget.
    model = kd.train_teacher(decay, jax.random.key(0), network=kd.MLP((3,)), stages=(kd.Adam(4),), time_budget=1e-9)
    assert not len(model.training[0].record_steps)
    plots.history({"teacher": model.training}, tmp_path / "h.png")
    write_history({"teacher": model.training}, tmp_path / "h.csv")
    with pytest.raises(ValueError, match="holds no records"):
        read_history(tmp_path / "h.csv")


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "role,stage,step,seconds,loss\nteacher,Adam,x,0,1\n", "\0"])
def test_the_error_for_a_file_that_is_not_a_history_is_one_line(tmp_path, content):
    (tmp_path / "h.csv").write_text(content)
    with pytest.raises(ValueError, match=r"h\.csv: not a history") as caught:
        read_history(tmp_path / "h.csv")
    assert "\n" not in str(caught.value)


def test_an_empty_argument_is_an_error_and_leaves_no_file(tmp_path):
    for draw in (plots.solution, plots.history):
        with pytest.raises(ValueError, match="empty"):
            draw({}, tmp_path / "p.png")
    assert not list(tmp_path.iterdir())
