"""Bounds and estimates compared with true errors, for models with known errors and for untrained models."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import kdpinn_jax as kd
from kdpinn_jax.cli import main
from kdpinn_jax.cli._tables import of_estimate
from kdpinn_jax.evaluation import correction
from kdpinn_jax.evaluation.judgement import judge
from kdpinn_jax.evaluation.norms import midpoints
from kdpinn_jax.evaluation.stability import Stability, stability
from kdpinn_jax.problems.black_scholes import upper_end
from kdpinn_jax.problems.bounds import allen_cahn, burgers, taylor_green
from kdpinn_jax.problems.references.allen_cahn import allen_cahn as allen_cahn_reference

TINY = kd.MLP((3,))
#: Perturbations that satisfy the enforced conditions: they vanish at the initial or terminal time and on the sides.
PERTURBATIONS = {
    "black_scholes": lambda z: (1 - z[:1]) * z[1:] * (3 - z[1:]) * jnp.sin(2 * z[1:]),
    "burgers": lambda z: z[:1] * (1 - z[1:] ** 2) * jnp.sin(3 * z[1:]),
    "allen_cahn": lambda z: z[:1] * jnp.cos(2 * jnp.pi * z[1:]),
    # Like that of a network, the velocity is not divergence-free.
    "taylor_green": lambda z: z[0] * jnp.stack([jnp.sin(z[1] + 2 * z[2]), jnp.cos(z[1]), 0 * z[0]]),
}
#: The largest ratio of the bound to the true error. The theorems ignore that residuals of opposite sign cancel.
LARGEST_RATIO = {"black_scholes": 5, "burgers": 3, "allen_cahn": 10, "taylor_green": 5}
#: Wrong coefficients, whose solutions serve as models.
WRONG_COEFFICIENTS = {
    "black_scholes": ({"sigma": 0.21, "r": 0.05}, {"sigma": 0.2, "r": 0.06}),
    "burgers": (),  # the references of these two are slow
    "allen_cahn": (),
    "taylor_green": ({"nu": 0.02},),
}


def known_model(problem, *perturbations):
    """A model that is the reference plus multiples of perturbations, plus a network with zero parameters.

    The multiples are coefficients and initially 0, so that other multiples are not compiled again.
    """
    truth, names = problem.reference(problem.coefficients), [f"size {i}" for i in range(len(perturbations))]

    def ansatz(net, z, c):
        # The coefficients of the problem itself, with which it is checked, do not contain the multiples.
        perturbation = sum(c.get(name, 0.0) * function(z) for name, function in zip(names, perturbations, strict=True))
        return truth(z) + net(z) + perturbation

    problem = dataclasses.replace(problem, ansatz=ansatz)
    objective = kd.objective(problem, TINY)
    params = jax.tree.map(jnp.zeros_like, kd.init_params(problem, objective.network, jax.random.key(0)))
    return kd.Model(problem, objective.network, params, {**objective.coefficients, **dict.fromkeys(names, 0.0)})


def perturbed(model, size, which=0):
    """A known model with ``size`` times one perturbation."""
    sizes = {name: 0.0 for name in model.coefficients if name.startswith("size")}
    return dataclasses.replace(model, coefficients={**model.coefficients, **sizes, f"size {which}": size})


def bound_and_error(model):
    """The bound, and the true error in its norm."""
    estimate = kd.error_estimate(model)
    assert estimate.kind == "bound"
    return estimate, kd.true_error(model, estimate.norm)


def cheaper(problem):
    """The problem; Allen–Cahn with thicker walls and a shorter series, because known models evaluate the reference."""
    if problem.name != "allen_cahn":
        return problem
    return dataclasses.replace(
        problem,
        coefficients={"diffusivity": 1e-3, "reaction": 5.0},
        reference=functools.partial(allen_cahn_reference, cells=512),
    )


@pytest.fixture(autouse=True)
def fewer_samples(monkeypatch):
    """Fewer samples for two problems whose references are long sums at every point."""
    monkeypatch.setattr(burgers, "TIMES", 65)
    monkeypatch.setattr(burgers, "POINTS", 401)
    monkeypatch.setattr(allen_cahn, "TIMES", 21)
    monkeypatch.setattr(allen_cahn, "POINTS", 256)
    for module in (burgers, allen_cahn):
        coarse = dataclasses.replace(module.NORM, samples=lambda problem: midpoints(problem, 11, 201))
        monkeypatch.setattr(module, "NORM", coarse)


@pytest.mark.slow
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_known_error_is_bounded_closely(name):
    problem = cheaper(kd.problems.ALL[name])
    truth = problem.reference(problem.coefficients)
    differences = [lambda z, other=problem.reference(c): other(z) - truth(z) for c in WRONG_COEFFICIENTS[name]]
    model = known_model(problem, PERTURBATIONS[name], *differences)
    bound, error = bound_and_error(perturbed(model, 1e-3))
    assert error <= bound.value <= LARGEST_RATIO[name] * error
    assert bound.value / 3 < bound.relative < 3 * bound.value  # all four solutions are of size one
    assert bound.parts["sampling margin"] < 0.1 * bound.value
    double, _ = bound_and_error(perturbed(model, 2e-3))
    assert double.value == pytest.approx(2 * bound.value, rel=0.03)
    large, error = bound_and_error(perturbed(model, 0.5))
    assert error <= large.value
    for i in range(len(differences)):
        wrong, error = bound_and_error(perturbed(model, 1.0, 1 + i))
        assert 1e-4 < error <= wrong.value <= 20 * error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("black_scholes", "soft"),
        ("burgers", "soft"),
        ("allen_cahn", "soft"),
        ("allen_cahn", "hard"),
        ("taylor_green", "hard"),
    ],
)
def test_untrained_models(name, conditions, untrained):
    """Models with soft conditions violate every condition, including the periodic one."""
    model = untrained(cheaper(kd.with_conditions(kd.problems.ALL[name], conditions)), 3, TINY)
    bound, error = bound_and_error(model)
    assert bound.value >= error > 0.01


def test_the_bound_of_an_exact_model_is_rounding():
    """It is due to the rounding of the residual's second derivatives at the kink."""
    bound, error = bound_and_error(known_model(kd.problems.ALL["black_scholes"]))
    assert error < 1e-13
    assert error <= bound.value < 1e-10
    assert bound.parts["boundary misfit"] < 1e-14


def test_put_call_parity():
    sigma, r, tau = 0.5, 0.1, np.array([0.3, 1.0])
    z = jnp.asarray(np.stack([1 - tau, np.full(2, 3.0)], axis=1))
    call = jax.vmap(kd.problems.ALL["black_scholes"].reference({"sigma": sigma, "r": r}))(z)[:, 0]
    np.testing.assert_allclose(upper_end(jnp.asarray(1 - tau), {"sigma": sigma, "r": r}), call, atol=1e-14)


def test_with_an_exact_teacher_the_bound_is_the_distance():
    teacher = known_model(kd.problems.ALL["black_scholes"])
    # The network of the student is not zero, so that it violates the terminal and boundary conditions.
    student = dataclasses.replace(teacher, params=jax.tree.map(lambda leaf: leaf + 0.1, teacher.params))
    bound = kd.error_estimate(student, teacher=teacher)
    assert bound.kind == "bound"
    assert bound.parts["distance"] == pytest.approx(kd.true_error(student, bound.norm), rel=1e-9)
    assert bound.value == pytest.approx(bound.parts["distance"] + bound.parts["teacher"])
    assert bound.parts["teacher"] < 1e-9 < bound.parts["own"]
    assert bound.value < bound.parts["own"]
    # A teacher that is worse than its student does not change the bound.
    swapped = kd.error_estimate(teacher, teacher=student)
    assert swapped.value == swapped.parts["own"] == bound.parts["teacher"]


def test_a_velocity_that_is_not_periodic_has_no_bound(untrained):
    problem = kd.with_conditions(kd.problems.ALL["taylor_green"], "soft")
    with pytest.raises(kd.NoBound, match="opposite sides differ"):
        problem.bound(untrained(problem, 0, TINY))


def test_projection():
    """The projection removes a gradient, and keeps a divergence-free field and the mean."""
    x, y = np.meshgrid(*2 * [2 * np.pi * np.arange(16) / 16], indexing="ij")
    gradient = np.stack([np.cos(x) * np.sin(2 * y), 2 * np.sin(x) * np.cos(2 * y)], axis=-1)[None]
    free = np.stack([0.5 - np.cos(x) * np.sin(y), np.sin(x) * np.cos(y)], axis=-1)[None]
    np.testing.assert_allclose(taylor_green.without_gradient(free + gradient), free, atol=1e-14)


def test_another_domain_or_sign_has_no_bound(untrained):
    problem = kd.problems.ALL["burgers"]
    wider = dataclasses.replace(problem, upper=(2.0, 1.0))
    with pytest.raises(kd.NoBound, match="holds on the domain"):
        wider.bound(untrained(wider, 0, TINY))
    model = dataclasses.replace(
        untrained(kd.problems.ALL["allen_cahn"], 0, TINY), coefficients={"diffusivity": 1e-4, "reaction": -1.0}
    )
    with pytest.raises(kd.NoBound, match="at least 0"):
        model.problem.bound(model)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_another_equation_or_condition_has_no_bound(name, untrained):
    """The theorems hold for the shipped terms only."""
    problem = kd.problems.ALL[name]
    for term_name, term in problem.terms.items():
        other_term = dataclasses.replace(term, residual=lambda u, z, c: u(z) - 2.0)
        other = dataclasses.replace(problem, terms={**problem.terms, term_name: other_term})
        with pytest.raises(kd.NoBound, match=rf"derived for '{name}', .* other terms: \['{term_name}'\]"):
            other.bound(untrained(other, 0, TINY))


@pytest.mark.slow
def test_a_problem_without_a_bound_is_estimated(heat, monkeypatch):
    """The estimate is within a factor of three of a known error, whether it is large or small."""
    monkeypatch.setattr(correction, "NETWORK", kd.MLP((12, 12)))
    monkeypatch.setattr(correction, "STEPS", 40)
    exact_model = known_model(heat, lambda z: z[:1] * jnp.sin(3 * jnp.pi * z[1:]))
    for size in (1e-1, 1e-4):
        model = perturbed(exact_model, size)
        estimate = kd.error_estimate(model)
        assert estimate.kind == "estimate"
        assert "no bound is known for problem 'heat'" in estimate.assumptions[0]
        error = kd.true_error(model, estimate.norm)
        assert error == pytest.approx(size / np.sqrt(6), rel=1e-3)
        assert 1 / 3 < estimate.value / error < 3
    assert kd.error_estimate(model) == estimate  # it is deterministic


def stability_of(problem):
    """The stability constant of a linear problem, which is the same at any model."""
    network = kd.MLP((4,), outputs=len(problem.fields))
    objective = kd.objective(problem, network)
    return stability(objective, [0], correction.NORM.samples(problem)[0])


def test_the_stability_constant_of_an_initial_value_problem(decay):
    """For u' = f, u(0) = g the extreme e is cos μ(1 − t) with μ tan μ = 1, and the constant is 1/μ."""
    constants = stability_of(dataclasses.replace(decay, coefficients={"k": 0.0}))
    assert constants.constant == pytest.approx(1 / 0.8603335890, rel=1e-2)
    assert constants.coarse == pytest.approx(constants.constant, rel=1e-2)


def test_a_missing_condition_is_seen(decay):
    """Without its initial value, u' = f has the solution 1 more: no residual changes."""
    terms = {"residual": decay.terms["residual"]}
    free = dataclasses.replace(decay, coefficients={"k": 0.0}, terms=terms, weights={})
    assert stability_of(free).constant == np.inf


@pytest.mark.slow
@pytest.mark.parametrize(("power", "growth"), [(1, (1.5, np.inf)), (2, (0.9, 1.3))])
def test_a_wave_without_its_initial_velocity_is_not_determined(power, growth):
    """With u = x (1 − x) t N the velocity at t = 0 is free; with t² it is zero."""
    box = kd.box((0, 0), (1, 1))

    def wave(u, z, c):
        return kd.two_derivatives(u, z, 0)[2] - kd.two_derivatives(u, z, 1)[2]

    problem = kd.Problem(
        name="string",
        axes=("t", "x"),
        fields=("u",),
        lower=(0, 0),
        upper=(1, 1),
        terms={"residual": kd.Term(box, wave, count=256)},
        ansatz=lambda net, z, c: z[1] * (1 - z[1]) * z[0] ** power * net(z),
    )
    constants = stability_of(problem)
    assert growth[0] < constants.constant / constants.coarse < growth[1]


def test_a_number_is_given_only_if_the_residual_tells_the_error():
    settled, growing = Stability(2.0, 1.9), Stability(2.0, 0.4)
    assert judge(0.1, 1.0, 0.2, settled, 1.0)[:2] == ("estimate", 0.125)
    kind, value, sentence = judge(1e-5, 1e-3, 1.0, settled, 1.0)  # the correction learned nothing
    assert kind == "estimate"
    assert 2e-4 < value < 2.1e-3
    assert "between its distance, 1e-05, and 0.002" in sentence
    kind, value, sentence = judge(1e-5, 0.2, 1.0, settled, 1.0)
    assert kind == "unknown"
    assert np.isnan(value)
    assert "allows an error of 0.4 in a solution of size 1" in sentence
    for ratio, residual in ((1.0, 1e-3), (0.2, 0.2)):
        kind, _, sentence = judge(1e-5, residual, ratio, growing, 1.0)
        assert kind == "unknown"
        assert "add the missing initial or boundary condition" in sentence
    assert judge(1e-5, 1e-9, 0.2, growing, 1.0)[0] == "estimate"
    kind, value, sentence = judge(1e-5, 1e-3, 1.0, Stability(2.0, 1.0), 1.0)  # the solution varies fast
    assert kind == "estimate"
    assert "and 0.008, the largest" in sentence
    assert judge(1e-5, 1e-1, 1.0, Stability(2.0, 1.0), 1.0)[0] == "unknown"
    assert judge(1e-5, 1e-9, 0.2, Stability(np.inf, np.inf), 1.0)[0] == "unknown"
    assert judge(1e-5, 1e-9, np.nan, settled, 1.0)[0] == "unknown"


@pytest.mark.slow
def test_an_unknown_error_is_null_and_has_a_reason(heat, untrained, monkeypatch):
    unknown = ("unknown", np.nan, "the residual says nothing")
    monkeypatch.setattr(correction, "judge", lambda *arguments: unknown)
    monkeypatch.setattr(correction, "NETWORK", kd.MLP((3,)))
    monkeypatch.setattr(correction, "STEPS", 2)
    monkeypatch.setattr(correction, "stability", lambda *arguments: Stability(1.0, 1.0))
    model = untrained(heat, 0, TINY)
    estimate = kd.error_estimate(model, teacher=untrained(heat, 1, TINY))
    assert estimate.kind == "unknown"
    content = json.loads(json.dumps(estimate.as_dict(), allow_nan=False))
    assert (content["value"], content["relative"]) == (None, None)
    lines = of_estimate(estimate).splitlines()
    assert lines[0].startswith("unknown            no number")
    assert lines[-1] == "reason             the residual says nothing"


def test_float32_models_are_evaluated_in_float64(float32):
    model = known_model(kd.problems.ALL["black_scholes"])
    assert model.dtype == np.float32
    assert kd.error_estimate(model).value < 1e-9


@pytest.mark.slow
def test_command_line_and_json(untrained, tmp_path):
    kd.save(untrained(kd.problems.ALL["burgers"], 0, TINY), tmp_path / "m.safetensors")
    arguments = ["evaluate", str(tmp_path / "m.safetensors"), "--estimate"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "bound" in result.stdout
    estimate = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)["estimate"]
    assert estimate == json.loads(json.dumps(kd.error_estimate(kd.load(tmp_path / "m.safetensors")).as_dict()))
    assert (estimate["kind"], estimate["norm"]) == ("bound", burgers.NORM.name)


def test_errors(heat, untrained, unchecked):
    model = untrained(kd.problems.ALL["burgers"], 0, TINY)
    with pytest.raises(ValueError, match="the teacher solves 'heat'"):
        kd.error_estimate(model, teacher=untrained(heat))
    other = dataclasses.replace(model, coefficients={"nu": 0.1})
    with pytest.raises(ValueError, match="coefficients"):
        kd.error_estimate(model, teacher=other)
    for finite in (model, untrained(heat)):
        not_finite = dataclasses.replace(finite, params=jax.tree.map(lambda leaf: leaf * jnp.nan, finite.params))
        with pytest.raises(ValueError, match="not finite"):
            kd.error_estimate(not_finite)
    with pytest.raises(ValueError, match="unknown"):
        kd.error_estimate(model, method="guess")
