"""The recipes of the presets for a problem and a network."""

import pytest

import kdpinn_jax as kd

BURGERS = kd.problems.ALL["burgers"]


def residuals(stages, problem, equations=1):
    """The number of residuals of the equation in the first stage."""
    return equations * stages[0].sampling.points(problem.terms["residual"].count)


@pytest.mark.parametrize("preset", ["quick", "default", "best"])
def test_a_larger_student_gets_more_residuals(preset):
    small, large = kd.recipe(BURGERS, preset=preset), kd.recipe(BURGERS, preset=preset, network=kd.MLP((30, 30, 30)))
    assert 1200 <= residuals(small.student, BURGERS) <= residuals(large.student, BURGERS)
    assert residuals(large.student, BURGERS) <= BURGERS.terms["residual"].count
    assert small.teacher == large.teacher
    assert residuals(small.teacher, BURGERS) == 1200


def test_residuals_follow_the_parameters_of_a_system():
    """The Navier–Stokes student has 2307 parameters, and the equation has three residuals per point."""
    cavity = kd.problems.ALL["lid_driven_cavity"]
    assert residuals(kd.recipe(cavity).student, cavity, equations=3) == pytest.approx(1.3 * 2307, rel=1e-3)


def test_the_papers_recipe_is_the_published_method():
    recipe = kd.recipe(BURGERS, "paper")
    assert recipe.conditions == "soft"
    assert recipe.weights == {"soft_target": 1.0}
    assert recipe.imitate == ()
    for stages in (recipe.teacher, recipe.student):
        assert [type(stage) for stage in stages] == [kd.Adam, kd.LBFGS]


@pytest.mark.parametrize(("name", "preset", "near"), [("papre", "quick", "paper"), ("paper", "quik", "quick")])
def test_unknown_names(name, preset, near):
    with pytest.raises(ValueError, match=f"is unknown.*{near}"):
        kd.recipe(BURGERS, name, preset)


def test_a_problem_without_the_term_residual(decay):
    renamed = kd.Problem(
        name="renamed", axes=decay.axes, fields=decay.fields, lower=decay.lower, upper=decay.upper,
        terms={"ode": decay.terms["residual"]}, coefficients=decay.coefficients,
    )  # fmt: skip
    with pytest.raises(ValueError, match="no term 'residual'"):
        kd.recipe(renamed)
