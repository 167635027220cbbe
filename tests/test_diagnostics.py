"""Gradients of terms against that of the loss, noise of known size, and Lanczos' method against the full Hessian."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import kdpinn_jax as kd

pytestmark = pytest.mark.slow  # each test compiles its own gradient


@pytest.fixture(scope="module")
def training(decay, untrained):
    """An objective with three terms, parameters and points."""
    teacher = untrained(decay, 1)
    target = kd.objective(
        decay, decay.student, terms={"soft_target": kd.soft_target(teacher, count=8)}, weights={"soft_target": 0.7}
    )
    params = untrained(decay, 2, decay.student).params
    return target, params, kd.sample(target, jax.random.key(0))


def test_norms_and_angles_are_those_of_the_terms(training):
    target, params, points = training
    diagnostics = kd.gradient_diagnostics(target, params, points)
    gradients = {}
    for name, weight in target.weights.items():
        term_loss = lambda p, name=name, weight=weight: weight * kd.mean_squares(target, p, points)[name]
        gradients[name] = ravel_pytree(jax.grad(term_loss)(params))[0]
        np.testing.assert_allclose(diagnostics.norms[name], jnp.linalg.norm(gradients[name]), rtol=1e-10)
    assert sum(map(float, diagnostics.shares.values())) == pytest.approx(1, abs=1e-12)
    total = sum(gradients.values())
    np.testing.assert_allclose(ravel_pytree(kd.loss_and_grad(target, params, points)[1])[0], total, rtol=1e-9)

    def cosine(a, b):
        return float(a @ b / jnp.linalg.norm(a) / jnp.linalg.norm(b))

    for a in gradients:
        assert set(diagnostics.cosines[a]) == set(gradients) - {a}
        assert float(diagnostics.against_rest[a]) == pytest.approx(
            cosine(gradients[a], total - gradients[a]), abs=1e-10
        )
        for b, value in diagnostics.cosines[a].items():
            assert float(value) == pytest.approx(cosine(gradients[a], gradients[b]), abs=1e-10)


def test_a_zero_weight_switches_its_term_off(training):
    target, params, points = training
    switched_off = replace(target, weights=target.weights | {"soft_target": 0.0})
    diagnostics = kd.gradient_diagnostics(switched_off, params, points)
    assert float(diagnostics.norms["soft_target"]) == float(diagnostics.shares["soft_target"]) == 0
    assert float(diagnostics.against_rest["soft_target"]) == 0
    assert sum(map(float, diagnostics.shares.values())) == pytest.approx(1, abs=1e-12)
    assert float(kd.gradient_noise(switched_off, params, jax.random.key(0), draws=2)["soft_target"]) == 0


def test_noise_of_known_size():
    """For u = b and r = u − z at n uniform z, the gradient of mean r² with respect to b is 2(b − z̄), with the mean
    2(b − ½) and the standard deviation 2/√(12n). A weight scales both."""
    n, b = 25, 2.0
    term = kd.Term(kd.box((0,), (1,), design="uniform"), lambda u, z, c: u(z)[:1] - z, count=n)
    line = kd.Problem(
        name="line",
        axes=("t",),
        fields=("u",),
        lower=(0.0,),
        upper=(1.0,),
        terms={"only": term},
    )
    # b is the bias of the output layer; all other parameters are zero.
    target = kd.objective(line, kd.MLP((1,)), weights={"only": 3.0})
    params = jax.tree.map(jnp.zeros_like, kd.init_params(line, target.network, jax.random.key(0)))
    params = params | {"dense_1": params["dense_1"] | {"bias": jnp.array([b])}}
    noise = kd.gradient_noise(target, params, jax.random.key(3), draws=4000)["only"]
    assert float(noise) == pytest.approx(1 / np.sqrt(12 * n) / (b - 0.5), rel=0.05)


def test_lanczos_finds_the_largest_eigenvalues(training, decay):
    _, params, points = training
    target = kd.objective(decay, decay.student)
    flat, unravel = ravel_pytree(params)
    hessian = jax.hessian(lambda v: kd.loss(target, unravel(v), points))(flat)
    exact = np.linalg.eigvalsh(hessian)[::-1]
    v = jax.random.normal(jax.random.key(5), flat.shape)
    product = jax.jit(kd.hessian_vector_product)(target, params, points, v)
    np.testing.assert_allclose(product, hessian @ v, rtol=1e-8, atol=1e-10)
    eigenvalues = kd.hessian_eigenvalues(target, params, points, jax.random.key(1), count=3)
    np.testing.assert_allclose(eigenvalues, exact[:3], rtol=1e-8)


def test_invalid_arguments(training):
    target, params, points = training
    with pytest.raises(ValueError, match="draws=1 must be at least 2"):
        kd.gradient_noise(target, params, jax.random.key(0), draws=1)
    with pytest.raises(ValueError, match=r"count=9 must be between 1 and 4"):
        kd.hessian_eigenvalues(target, params, points, jax.random.key(0), count=9, iterations=4)
