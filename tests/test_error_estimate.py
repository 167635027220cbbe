"""Bounds against true errors: of models whose error is known, and of models that are wrong in every way."""

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
from kdpinn_jax.evaluation import correction as _correction
from kdpinn_jax.evaluation import norms as _samples
from kdpinn_jax.problems.black_scholes import upper_end
from kdpinn_jax.problems.bounds import allen_cahn, burgers, taylor_green
from kdpinn_jax.problems.references.allen_cahn import allen_cahn as reference

TINY = kd.MLP((3,))
#: A perturbation that keeps the conditions the ansatz enforces: time since the condition, and zero on the sides.
KEEPS = {
    "black_scholes": lambda z: (1 - z[:1]) * z[1:] * (3 - z[1:]) * jnp.sin(2 * z[1:]),
    "burgers": lambda z: z[:1] * (1 - z[1:] ** 2) * jnp.sin(3 * z[1:]),
    "allen_cahn": lambda z: z[:1] * jnp.cos(2 * jnp.pi * z[1:]),
    # The velocity is as little divergence-free as a network's.
    "taylor_green": lambda z: z[0] * jnp.stack([jnp.sin(z[1] + 2 * z[2]), jnp.cos(z[1]), 0 * z[0]]),
}
#: How many times the true error the bound may be: its theorem does not see that residuals of either sign cancel.
SLACK = {"black_scholes": 5, "burgers": 3, "allen_cahn": 10, "taylor_green": 5}
#: Coefficients whose solution is not the problem's.
WRONG = {
    "black_scholes": ({"sigma": 0.21, "r": 0.05}, {"sigma": 0.2, "r": 0.06}),
    "burgers": (),  # these two references take long
    "allen_cahn": (),
    "taylor_green": ({"nu": 0.02},),
}


def known_model(problem, *perturbations):
    """A model that is the reference plus multiples of perturbations. Its network adds nothing, and could; the multiples
    are coefficients, at first 0: other ones compile nothing."""
    truth, names = problem.reference(problem.coefficients), [f"size {i}" for i in range(len(perturbations))]

    def ansatz(net, z, c):
        return truth(z) + net(z) + sum(c[name] * each(z) for name, each in zip(names, perturbations, strict=True))

    problem = dataclasses.replace(problem, ansatz=ansatz)
    target = kd.objective(problem, TINY)
    params = jax.tree.map(jnp.zeros_like, kd.init_params(problem, target.network, jax.random.key(0)))
    return kd.Model(problem, target.network, params, {**target.coefficients, **dict.fromkeys(names, 0.0)})


def perturbed(model, size, which=0):
    sizes = {name: 0.0 for name in model.coefficients if name.startswith("size")}
    return dataclasses.replace(model, coefficients={**model.coefficients, **sizes, f"size {which}": size})


def both(model):
    """(the bound, the true error in its norm)."""
    found = kd.error_estimate(model)
    assert found.kind == "bound"
    return found, kd.true_error(model, found.norm)


def cheaper(problem):
    """Allen–Cahn with thicker walls and a shorter series for a reference, which a good model is evaluated as."""
    if problem.name != "allen_cahn":
        return problem
    return dataclasses.replace(
        problem,
        coefficients={"diffusivity": 1e-3, "reaction": 5.0},
        reference=functools.partial(reference, cells=512),
    )


@pytest.fixture(autouse=True)
def fewer_samples(monkeypatch):
    """The references of these two are long sums at every point."""
    monkeypatch.setattr(burgers, "TIMES", 65)
    monkeypatch.setattr(burgers, "POINTS", 401)
    monkeypatch.setattr(allen_cahn, "TIMES", 21)
    monkeypatch.setattr(allen_cahn, "POINTS", 256)
    for module in (burgers, allen_cahn):
        coarse = dataclasses.replace(module.NORM, samples=lambda problem: _samples.midpoints(problem, 11, 201))
        monkeypatch.setattr(module, "NORM", coarse)


@pytest.mark.slow
@pytest.mark.parametrize("name", KEEPS)
def test_a_known_error_is_bounded_closely(name):
    problem = cheaper(kd.problems.ALL[name])
    truth = problem.reference(problem.coefficients)
    others = [lambda z, other=problem.reference(c): other(z) - truth(z) for c in WRONG[name]]
    model = known_model(problem, KEEPS[name], *others)
    one, error = both(perturbed(model, 1e-3))
    assert error <= one.value <= SLACK[name] * error
    assert one.value / 3 < one.relative < 3 * one.value  # all four solutions are of size one
    assert one.parts["sampling margin"] < 0.1 * one.value
    two, _ = both(perturbed(model, 2e-3))
    assert two.value == pytest.approx(2 * one.value, rel=0.03)
    spoilt, error = both(perturbed(model, 0.5))
    assert error <= spoilt.value
    for i in range(len(others)):
        other, error = both(perturbed(model, 1.0, 1 + i))
        assert 1e-4 < error <= other.value <= 20 * error


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
    """Soft ones miss every condition, the periodic one too."""
    model = untrained(cheaper(kd.with_conditions(kd.problems.ALL[name], conditions)), 3, TINY)
    found, error = both(model)
    assert found.value >= error > 0.01


def test_an_exact_model_has_next_to_no_error():
    """What is left is the rounding of the residual's second derivatives at the kink."""
    found, error = both(known_model(kd.problems.ALL["black_scholes"]))
    assert error < 1e-13
    assert error <= found.value < 1e-10
    assert found.parts["boundary misfit"] < 1e-14


def test_put_call_parity():
    sigma, r, tau = 0.5, 0.1, np.array([0.3, 1.0])
    z = jnp.asarray(np.stack([1 - tau, np.full(2, 3.0)], axis=1))
    call = jax.vmap(kd.problems.ALL["black_scholes"].reference({"sigma": sigma, "r": r}))(z)[:, 0]
    np.testing.assert_allclose(upper_end(jnp.asarray(1 - tau), {"sigma": sigma, "r": r}), call, atol=1e-14)


def test_a_perfect_teacher_leaves_the_distance():
    teacher = known_model(kd.problems.ALL["black_scholes"])
    # Its network speaks here: the misfit is at maturity and at the sides.
    student = dataclasses.replace(teacher, params=jax.tree.map(lambda leaf: leaf + 0.1, teacher.params))
    found = kd.error_estimate(student, teacher=teacher)
    assert found.kind == "bound"
    assert found.parts["distance"] == pytest.approx(kd.true_error(student, found.norm), rel=1e-9)
    assert found.value == pytest.approx(found.parts["distance"] + found.parts["teacher"])
    assert found.parts["teacher"] < 1e-9 < found.parts["own"]
    assert found.value < found.parts["own"]
    # A teacher worse than its student changes nothing.
    swapped = kd.error_estimate(teacher, teacher=student)
    assert swapped.value == swapped.parts["own"] == found.parts["teacher"]


def test_a_velocity_that_is_not_periodic_has_no_bound(untrained):
    problem = kd.with_conditions(kd.problems.ALL["taylor_green"], "soft")
    with pytest.raises(kd.NoBound, match="misses its period"):
        problem.bound(untrained(problem, 0, TINY))


def test_projection():
    """A gradient goes, a divergence-free field and the mean stay."""
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


@pytest.mark.parametrize("name", KEEPS)
def test_another_equation_or_condition_has_no_bound(name, untrained):
    """The theorem holds for the shipped terms; a changed one must not be certified."""
    problem = kd.problems.ALL[name]
    for changed, term in problem.terms.items():
        other = dataclasses.replace(term, residual=lambda u, z, c: u(z) - 2.0)
        another = dataclasses.replace(problem, terms={**problem.terms, changed: other})
        with pytest.raises(kd.NoBound, match=rf"derived for '{name}', .* other terms: \['{changed}'\]"):
            another.bound(untrained(another, 0, TINY))


@pytest.mark.slow
def test_any_other_problem_is_estimated(heat, monkeypatch):
    """A correction is trained: within a factor of three, for an error that is known, whatever its size."""
    monkeypatch.setattr(_correction, "NETWORK", kd.MLP((12, 12)))
    monkeypatch.setattr(_correction, "STEPS", 40)
    whole = known_model(heat, lambda z: z[:1] * jnp.sin(3 * jnp.pi * z[1:]))
    for size in (1e-1, 1e-4):
        model = perturbed(whole, size)
        found = kd.error_estimate(model)
        assert found.kind == "estimate"
        assert "no bound is known for problem 'heat'" in found.assumptions[0]
        error = kd.true_error(model, found.norm)
        assert error == pytest.approx(size / np.sqrt(6), rel=1e-3)
        assert 1 / 3 < found.value / error < 3
    assert kd.error_estimate(model) == found  # the same number every time


def test_float32_models_are_judged_in_float64(float32):
    model = known_model(kd.problems.ALL["black_scholes"])
    assert model.dtype == np.float32
    assert kd.error_estimate(model).value < 1e-9


@pytest.mark.slow
def test_command_line_and_json(untrained, tmp_path):
    kd.save(untrained(kd.problems.ALL["burgers"], 0, TINY), tmp_path / "m.safetensors")
    call = ["evaluate", str(tmp_path / "m.safetensors"), "--estimate"]
    told = CliRunner().invoke(main, call)
    assert told.exit_code == 0, told.output
    assert "bound" in told.stdout
    found = json.loads(CliRunner().invoke(main, [*call, "--json"]).stdout)["estimate"]
    assert found == json.loads(json.dumps(kd.error_estimate(kd.load(tmp_path / "m.safetensors")).as_dict()))
    assert (found["kind"], found["norm"]) == ("bound", burgers.NORM.name)


def test_what_cannot_be_judged(heat, untrained, unchecked):
    model = untrained(kd.problems.ALL["burgers"], 0, TINY)
    with pytest.raises(ValueError, match="the teacher solves 'heat'"):
        kd.error_estimate(model, teacher=untrained(heat))
    other = dataclasses.replace(model, coefficients={"nu": 0.1})
    with pytest.raises(ValueError, match="coefficients"):
        kd.error_estimate(model, teacher=other)
    for whole in (model, untrained(heat)):
        broken = dataclasses.replace(whole, params=jax.tree.map(lambda leaf: leaf * jnp.nan, whole.params))
        with pytest.raises(ValueError, match="not finite"):
            kd.error_estimate(broken)
    with pytest.raises(ValueError, match="unknown"):
        kd.error_estimate(model, method="guess")
