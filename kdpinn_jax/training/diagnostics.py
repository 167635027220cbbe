"""What the terms of a loss do to its gradient, and how curved the loss is: numbers to understand a training by."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from ..base.types import Params, Points
from ..models.model import precision
from .objective import Objective, only
from .points import sample
from .residuals import loss_and_grad


class GradientDiagnostics(NamedTuple):
    """How the terms share the gradient g = Σ_term g_term, g_term = w_term ∇L_term. Arrays: vmap over members works.

    Attributes:
        norms: ``{term: ‖g_term‖}``.
        shares: ``{term: ‖g_term‖ / Σ ‖g_term‖}``; they add up to 1, also where terms pull against each other.
        cosines: ``{term: {other: cos(g_term, g_other)}}``; 1 pulls the same way, −1 the opposite one.
        against_rest: ``{term: cos(g_term, g − g_term)}``: for ``"soft_target"``, distillation against physics.
    """

    norms: dict[str, Array]
    shares: dict[str, Array]
    cosines: dict[str, dict[str, Array]]
    against_rest: dict[str, Array]


@jax.jit
def gradient_diagnostics(objective: Objective, params: Params, points: Points) -> GradientDiagnostics:
    """Norms, shares and angles of the terms' gradients with respect to the parameters, at these points.

    A term whose weight is 0 has norm and share 0; an angle with a gradient that vanishes is 0.
    """
    gradients = _gradients(objective, params, points)
    norms = {name: jnp.linalg.norm(gradient) for name, gradient in gradients.items()}
    total, whole = sum(norms.values()), sum(gradients.values())
    return GradientDiagnostics(
        norms=norms,
        shares={name: _ratio(norm, jnp.asarray(total)) for name, norm in norms.items()},
        cosines={a: {b: _cosine(gradients[a], gradients[b]) for b in gradients if b != a} for a in gradients},
        against_rest={name: _cosine(gradient, whole - gradient) for name, gradient in gradients.items()},
    )


@functools.partial(jax.jit, static_argnames=("draws",))
def gradient_noise(objective: Objective, params: Params, key: Array, *, draws: int = 16) -> dict[str, Array]:
    """``{term: √E‖g − ḡ‖² / ‖ḡ‖}``: how far a term's gradient strays from its mean when its points are drawn anew.

    Args:
        objective, params: where the gradients are taken.
        key: a JAX random key for the draws.
        draws: how many, at least 2; the variance is the unbiased one, over ``draws`` − 1.

    Raises:
        ValueError: fewer than two draws.
    """
    if draws < 2:
        raise ValueError(f"gradient_noise: draws={draws} must be at least 2: one draw has no spread")
    at = lambda key: _gradients(objective, params, sample(objective, key))
    gradients = jax.lax.map(at, jax.random.split(key, draws))
    strays = lambda g: jnp.sqrt(jnp.sum(jnp.var(g, axis=0, ddof=1)))
    return {name: _ratio(strays(g), jnp.linalg.norm(jnp.mean(g, axis=0))) for name, g in gradients.items()}


def hessian_vector_product(
    objective: Objective, params: Params, points: Points, vector: Float[Array, " p"]
) -> Float[Array, " p"]:
    """∇²L(θ) v by forward over reverse mode, v in the order of ``jax.flatten_util.ravel_pytree``."""
    flat, unravel = ravel_pytree(params)
    gradient = lambda flat: ravel_pytree(loss_and_grad(objective, unravel(flat), points)[1])[0]
    return jax.jvp(gradient, (flat,), (vector,))[1]


@functools.partial(jax.jit, static_argnames=("count", "iterations"))
def hessian_eigenvalues(
    objective: Objective, params: Params, points: Points, key: Array, *, count: int = 5, iterations: int = 60
) -> Float[Array, " count"]:
    """The largest eigenvalues of ∇²L(θ), falling, by Lanczos' method over Hessian-vector products.

    Args:
        objective, params, points: the loss and where its curvature is taken.
        key: a JAX random key for the first vector.
        count: how many eigenvalues.
        iterations: Hessian-vector products, at most as many as parameters are used. Lanczos finds the largest
            eigenvalues first; with full reorthogonalisation, as here, none is found twice. Source: Golub & Van Loan
            (2013), section 10.3.

    Raises:
        ValueError: count is not between 1 and the number of iterations and of parameters.
    """
    size = ravel_pytree(params)[0].size
    iterations = min(iterations, size)
    if not 1 <= count <= iterations:
        raise ValueError(
            f"hessian_eigenvalues: count={count} must be between 1 and {iterations}, the iterations (at most one a "
            "parameter)"
        )
    dtype = precision(params)
    first = jax.random.normal(key, (size,), dtype)
    basis = jnp.zeros((iterations + 1, size), dtype).at[0].set(first / jnp.linalg.norm(first))

    def step(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        basis, diagonal, off_diagonal = state
        w = hessian_vector_product(objective, params, points, basis[k])
        alpha = jnp.dot(w, basis[k])
        for _ in range(2):  # once leaves what rounding lets in again
            w = w - basis.T @ (basis @ w)
        beta = jnp.linalg.norm(w)
        # An invariant subspace: what is left is rounding, and the rows behind it stay zero.
        exhausted = beta <= 100 * jnp.finfo(dtype).eps * jnp.abs(diagonal.at[k].set(alpha)).max()
        beta = jnp.where(exhausted, 0.0, beta).astype(dtype)
        following = jnp.where(exhausted, 0.0, w / jnp.where(exhausted, 1.0, beta)).astype(dtype)
        return basis.at[k + 1].set(following), diagonal.at[k].set(alpha), off_diagonal.at[k].set(beta)

    zeros = jnp.zeros(iterations, dtype)
    _, diagonal, off_diagonal = jax.lax.fori_loop(0, iterations, step, (basis, zeros, zeros))
    off_diagonal = off_diagonal[:-1]
    tridiagonal = jnp.diag(diagonal) + jnp.diag(off_diagonal, 1) + jnp.diag(off_diagonal, -1)
    return jnp.linalg.eigvalsh(tridiagonal)[::-1][:count]


def _gradients(objective: Objective, params: Params, points: Points) -> dict[str, Float[Array, " _p"]]:
    """The gradient of every weighted term as one vector."""
    gradients = {}
    for name in sorted(objective.terms):
        (_, _), gradient = loss_and_grad(only(objective, name), params, points)
        gradients[name] = ravel_pytree(gradient)[0]
    return gradients


def _ratio(a: Array, b: Array) -> Array:
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def _cosine(a: Float[Array, " p"], b: Float[Array, " p"]) -> Array:
    return _ratio(jnp.dot(a, b), jnp.linalg.norm(a) * jnp.linalg.norm(b))
