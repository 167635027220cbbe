"""Coefficients that jump in one field are found, and nothing else is; trainings and estimates say so."""

from dataclasses import replace

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import kdpinn_jax as kd
from kdpinn_jax.training.review import jumps_of

pytestmark = pytest.mark.slow  # most of them train or trace a problem of their own

PLACE = 0.37


def equation(residual, dimensions=2, fields=("u",), conditions=True, **terms):
    """A problem on [0, 1]ᵈ with one equation, u = 0 on the boundary, and further terms."""
    lower, upper = (0.0,) * dimensions, (1.0,) * dimensions
    boundary = kd.Term(kd.faces(lower, upper, axes=range(dimensions)), kd.dirichlet(0.0), count=32)
    return kd.Problem(
        name="example",
        axes=tuple("xyzvw"[:dimensions]),
        fields=fields,
        lower=lower,
        upper=upper,
        terms={"residual": kd.Term(kd.box(lower, upper), residual, count=256), "boundary": boundary, **terms},
    )


def diffusion(k, dimensions=2):
    """k(z) Δu."""
    return lambda u, z, c: k(z) * sum(kd.two_derivatives(u, z, axis)[2] for axis in range(dimensions))


def step(value, low=1.0, high=400.0, place=PLACE):
    return jnp.where(value < place, low, high)


@pytest.fixture
def jumps(untrained):
    return lambda problem: jumps_of(untrained(problem, network=kd.MLP((4,))))


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_a_coefficient_that_jumps_is_found_in_any_dimension(dimensions, jumps):
    (jump,) = jumps(equation(diffusion(lambda z: step(z[0]), dimensions), dimensions))
    assert (jump.terms, jump.field, jump.axis, jump.order, jump.highest) == (("residual",), "u", "x", 2, True)
    assert jump.ratio == pytest.approx(400)
    assert jump.place["x"] <= PLACE <= jump.above["x"]
    assert jump.above["x"] - jump.place["x"] < 1e-8
    assert f"∂²u/∂x² in term 'residual' jumps by a factor of 400 at x = {PLACE}" in jump.warning()


def moving_front(u, z, c):
    return kd.derivative(u, 0)(z) - step(z[1] - 0.2 * z[0]) * kd.two_derivatives(u, z, 1)[2]


def melting(u, z, c):
    return kd.derivative(u, 0)(z) - step(u(z), place=0.1) * kd.two_derivatives(u, z, 1)[2]


def beam(u, z, c):
    third = kd.derivative(lambda z: kd.two_derivatives(u, z, 0)[2], 0)
    return step(z[0]) * kd.derivative(third, 0)(z)


@pytest.mark.parametrize(
    ("residual", "order", "axes", "words"),
    [
        (diffusion(lambda z: step((z[0] - 0.4) ** 2 + (z[1] - 0.3) ** 2, 1.0, 1.1, 0.01)), 2, "xy", "factor of 1.1 at"),
        (diffusion(lambda z: step(z[1], 0.0, 1.0)), 2, "y", "jumps to zero at"),
        (moving_front, 2, "y", "factor of 400 at"),
        (melting, 2, "y", "where a field takes a certain value"),
        (beam, 4, "x", "∂⁴u/∂x⁴"),
        (lambda u, z, c: kd.derivative(u, 0)(z) + step(z[1]) * kd.derivative(u, 1)(z), 1, "y", "∂u/∂y"),
    ],
    ids=["disc", "zero", "moving front", "melting", "beam", "transport"],
)
def test_other_coefficients_that_jump(residual, order, axes, words, jumps):
    (jump,) = jumps(equation(residual))
    assert jump.highest
    assert jump.order == order
    assert jump.axis in axes
    assert words in jump.warning()


@pytest.mark.parametrize(
    "residual",
    [
        lambda u, z, c: diffusion(lambda z: 1.0)(u, z, c) - step(z[0]),
        lambda u, z, c: diffusion(lambda z: 1.0)(u, z, c) - step(z[0]) * u(z),
        lambda u, z, c: kd.derivative(u, 0)(z) - step(z[0]) * kd.two_derivatives(u, z, 1)[2],
        lambda u, z, c: step(z[1]) * kd.two_derivatives(u, z, 0)[2] + kd.two_derivatives(u, z, 1)[2],
        diffusion(lambda z: 2 + jnp.tanh(1e4 * (z[0] - PLACE))),
        diffusion(lambda z: 1 + jnp.abs(z[0] - PLACE)),
        diffusion(lambda z: 1 / (z[0] - PLACE)),
    ],
    ids=["source", "reaction", "in time", "along the layers", "steep", "kink", "pole"],
)
def test_no_false_alarm(residual, jumps):
    assert jumps(equation(residual)) == ()


@pytest.mark.parametrize("name", kd.problems.ALL)
def test_no_coefficient_of_a_shipped_problem_jumps(name, jumps):
    assert jumps(kd.problems.ALL[name]) == ()


def test_a_lower_derivative_is_told_apart(jumps):
    residual = lambda u, z, c: diffusion(lambda z: 1.0)(u, z, c) - step(z[0]) * kd.derivative(u, 0)(z)
    (jump,) = jumps(equation(residual))
    assert (jump.order, jump.highest) == (1, False)


def on_line(y):
    return kd.box((0, y), (1, y))


def test_an_interface_term_covers_its_own_jump(jumps):
    """With two fields, one term selects the field by the place; a second interface without a term is reported."""

    def select(u, z, c):
        below, above = kd.laplacian(u, (0, 1))(z)
        return jnp.where(z[1] < 0.7, below * step(z[1], 1.0, 1.1, 0.3), above)[None]

    def interface(u, z, c):
        value, slope = u(z), kd.derivative(u, 1)(z)
        return jnp.stack([value[0] - value[1], slope[0] - 400 * slope[1]])

    problem = equation(select, 2, ("a", "b"), upper=kd.Term(on_line(0.7), interface, count=64))
    (jump,) = jumps(problem)
    assert jump.place["y"] == pytest.approx(0.3)
    covered = {**problem.terms, "lower": kd.Term(on_line(0.3), interface, count=64)}
    assert jumps(replace(problem, terms=covered)) == ()


def test_two_terms_on_adjacent_regions(jumps):
    lower, upper = kd.box((0, 0), (1, 0.5)), kd.box((0, 0.5), (1, 1))
    glass, metal = (diffusion(lambda z, k=k: k) for k in (1.0, 400.0))
    problem = equation(glass)
    (jump,) = jumps(replace(problem, terms={"glass": kd.Term(lower, glass), "metal": kd.Term(upper, metal)}))
    assert jump.terms == ("glass", "metal")
    assert jump.ratio == pytest.approx(400)
    assert jump.place["y"] == pytest.approx(0.5, abs=0.05)
    # The same equation on both regions, or the equation of another field.
    assert jumps(replace(problem, terms={"glass": kd.Term(lower, glass), "metal": kd.Term(upper, glass)})) == ()
    first, second = ((lambda u, z, c, i=i, k=k: k(u, z, c)[i : i + 1]) for i, k in enumerate((glass, metal)))
    two = replace(problem, fields=("a", "b"), terms={"glass": kd.Term(lower, first), "metal": kd.Term(upper, second)})
    assert jumps(two) == ()


def test_a_field_with_a_kink_there(jumps):
    problem = equation(diffusion(lambda z: step(z[1])))
    assert len(jumps(problem)) == 1
    assert jumps(replace(problem, embed=lambda z: jnp.stack([z[0], z[1], jnp.abs(z[1] - PLACE)]))) == ()


def test_a_jump_outside_the_domain(jumps):
    problem = equation(diffusion(lambda z: step(z[0])))
    assert jumps(replace(problem, inside=lambda z: z[0] > 0.5)) == ()
    restricted = kd.restrict(kd.box((0, 0), (1, 1)), lambda z: z[0] > 0.5)
    terms = {**problem.terms, "residual": replace(problem.terms["residual"], sample=restricted)}
    assert jumps(replace(problem, terms=terms)) == ()


@pytest.fixture(scope="module")
def wall():
    """A network for k u″ = 0 with k = 1 below a place and another number above, both coefficients."""

    def residual(u, z, c):
        return step(z[0], 1.0, c["contrast"], c["place"]) * kd.two_derivatives(u, z, 0)[2]

    problem = replace(equation(residual, 1), coefficients={"place": 0.5, "contrast": 2.0})
    target = kd.objective(problem, kd.MLP((4,)))
    params = kd.init_params(problem, target.network, jax.random.key(0))
    return kd.Model(problem, target.network, params, target.coefficients)


@hypothesis.given(place=st.floats(0.1, 0.9), contrast=st.floats(0.01, 0.95) | st.floats(1.05, 1e3))
def test_any_place_and_contrast(place, contrast, wall):
    (jump,) = jumps_of(replace(wall, coefficients={"place": place, "contrast": contrast}))
    assert jump.place["x"] == pytest.approx(place, abs=1e-8)
    assert jump.ratio == pytest.approx(max(contrast, 1 / contrast), rel=1e-6)
    assert jumps_of(replace(wall, coefficients={"place": place, "contrast": 1.0})) == ()


def test_training_and_the_estimate_say_so(wall, tmp_path):
    problem = wall.problem
    model = kd.train_teacher(
        problem,
        jax.random.key(0),
        network=wall.network,
        coefficients={"contrast": 400.0},
        stages=(kd.LevenbergMarquardt(3),),
        progress=False,
    )
    warning = kd.diagnose(model.training)[0]
    assert "∂²u/∂x² in term 'residual' jumps by a factor of 400 at x = 0.5" in warning
    assert "docs/own_pde.md" in warning
    estimate = kd.error_estimate(model)
    assert estimate.kind == "unknown"
    assert np.isnan(estimate.value)
    assert estimate.assumptions[1] == warning
    kd.save(model, tmp_path / "m.safetensors")
    assert kd.diagnose(kd.load(tmp_path / "m.safetensors", problem=problem).training)[0] == warning
