"""Diagnostics of a loss: how its terms share the gradient, how noisy the gradient is, and how curved the loss is."""

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
    """How the terms share the gradient g = Σ_term g_term, where g_term = w_term ∇L_term.

    All values are arrays, so that a function that returns them can be vmapped.

    Attributes:
        norms: ``{term: ‖g_term‖}``.
        shares: ``{term: ‖g_term‖ / Σ ‖g_term‖}``; they add up to 1 even if the gradients cancel.
        cosines: ``{term: {other: cos(g_term, g_other)}}``; 1 for the same direction, −1 for opposite ones.
        against_rest: ``{term: cos(g_term, g − g_term)}``; for ``"soft_target"``, distillation against physics.
    """

    norms: dict[str, Array]
    shares: dict[str, Array]
    cosines: dict[str, dict[str, Array]]
    against_rest: dict[str, Array]


@jax.jit
def gradient_diagnostics(objective: Objective, params: Params, points: Points) -> GradientDiagnostics:
    """Norms, shares and angles of the terms' gradients with respect to the parameters.

    Args:
        objective: the terms with their weights. A term with weight 0 has norm and share 0.
        params: the parameters at which the gradients are taken.
        points: the points at which the terms are sampled.

    Returns:
        Norms, shares and cosines; a cosine with a gradient that is zero is 0.
    """
    gradients = _gradients(objective, params, points)
    norms = {name: jnp.linalg.norm(gradient) for name, gradient in gradients.items()}
    total_norm, total_gradient = sum(norms.values()), sum(gradients.values())
    return GradientDiagnostics(
        norms=norms,
        shares={name: _ratio(norm, jnp.asarray(total_norm)) for name, norm in norms.items()},
        cosines={a: {b: _cosine(gradients[a], gradients[b]) for b in gradients if b != a} for a in gradients},
        against_rest={name: _cosine(gradient, total_gradient - gradient) for name, gradient in gradients.items()},
    )


@functools.partial(jax.jit, static_argnames=("draws",))
def gradient_noise(objective: Objective, params: Params, key: Array, *, draws: int = 16) -> dict[str, Array]:
    """The relative standard deviation of each term's gradient over redrawn points, √E‖g − ḡ‖² / ‖ḡ‖.

    Args:
        objective: the terms with their weights.
        params: the parameters at which the gradients are taken.
        key: a JAX random key for the draws.
        draws: the number of draws, at least 2; the variance is the unbiased one, over ``draws`` − 1.

    Returns:
        ``{term: noise}``; 0 for a term whose mean gradient is zero.

    Raises:
        ValueError: fewer than two draws.
    """
    if draws < 2:
        raise ValueError(f"gradient_noise: draws={draws} must be at least 2, because one draw has no variance")
    gradients_at_new_points = lambda key: _gradients(objective, params, sample(objective, key))
    gradients = jax.lax.map(gradients_at_new_points, jax.random.split(key, draws))
    deviation = lambda g: jnp.sqrt(jnp.sum(jnp.var(g, axis=0, ddof=1)))
    return {name: _ratio(deviation(g), jnp.linalg.norm(jnp.mean(g, axis=0))) for name, g in gradients.items()}


def hessian_vector_product(
    objective: Objective, params: Params, points: Points, vector: Float[Array, " p"]
) -> Float[Array, " p"]:
    """∇²L(θ) v, by forward-over-reverse differentiation.

    Args:
        objective: the loss L.
        params: θ.
        points: the points at which the terms are sampled.
        vector: (p,) v, in the order of ``jax.flatten_util.ravel_pytree``.

    Returns:
        (p,) in the same order.
    """
    flat, unravel = ravel_pytree(params)
    gradient = lambda flat: ravel_pytree(loss_and_grad(objective, unravel(flat), points)[1])[0]
    return jax.jvp(gradient, (flat,), (vector,))[1]


@functools.partial(jax.jit, static_argnames=("count", "iterations"))
def hessian_eigenvalues(
    objective: Objective, params: Params, points: Points, key: Array, *, count: int = 5, iterations: int = 60
) -> Float[Array, " count"]:
    """The largest eigenvalues of ∇²L(θ), by Lanczos' method with Hessian-vector products.

    Lanczos' method converges to the largest eigenvalues first. With full reorthogonalisation, as here, it returns none
    of them twice. Source: Golub & Van Loan (2013), section 10.3.

    Args:
        objective: the loss L.
        params: θ.
        points: the points at which the terms are sampled.
        key: a JAX random key for the first vector.
        count: the number of eigenvalues.
        iterations: the number of Hessian-vector products; at most the number of parameters is used.

    Returns:
        (count,) eigenvalues, in decreasing order.

    Raises:
        ValueError: count is less than 1, or exceeds the number of iterations or of parameters.
    """
    size = ravel_pytree(params)[0].size
    iterations = min(iterations, size)
    if not 1 <= count <= iterations:
        raise ValueError(
            f"hessian_eigenvalues: count={count} must be between 1 and {iterations}, the number of iterations "
            "(at most one per parameter)"
        )
    dtype = precision(params)
    first = jax.random.normal(key, (size,), dtype)
    basis = jnp.zeros((iterations + 1, size), dtype).at[0].set(first / jnp.linalg.norm(first))

    def step(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        basis, diagonal, off_diagonal = state
        w = hessian_vector_product(objective, params, points, basis[k])
        alpha = jnp.dot(w, basis[k])
        for _ in range(2):  # one pass leaves components that are due to rounding
            w = w - basis.T @ (basis @ w)
        beta = jnp.linalg.norm(w)
        # If the basis spans an invariant subspace, w is rounding error, and the remaining rows stay zero.
        exhausted = beta <= 100 * jnp.finfo(dtype).eps * jnp.abs(diagonal.at[k].set(alpha)).max()
        beta = jnp.where(exhausted, 0.0, beta).astype(dtype)
        next_vector = jnp.where(exhausted, 0.0, w / jnp.where(exhausted, 1.0, beta)).astype(dtype)
        return basis.at[k + 1].set(next_vector), diagonal.at[k].set(alpha), off_diagonal.at[k].set(beta)

    zeros = jnp.zeros(iterations, dtype)
    _, diagonal, off_diagonal = jax.lax.fori_loop(0, iterations, step, (basis, zeros, zeros))
    off_diagonal = off_diagonal[:-1]
    tridiagonal = jnp.diag(diagonal) + jnp.diag(off_diagonal, 1) + jnp.diag(off_diagonal, -1)
    return jnp.linalg.eigvalsh(tridiagonal)[::-1][:count]


def _gradients(objective: Objective, params: Params, points: Points) -> dict[str, Float[Array, " _p"]]:
    """The gradient of every weighted term, as a vector."""
    gradients = {}
    for name in sorted(objective.terms):
        (_, _), gradient = loss_and_grad(only(objective, name), params, points)
        gradients[name] = ravel_pytree(gradient)[0]
    return gradients


def _ratio(a: Array, b: Array) -> Array:
    """a/b, or 0 where b is 0."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def _cosine(a: Float[Array, " p"], b: Float[Array, " p"]) -> Array:
    return _ratio(jnp.dot(a, b), jnp.linalg.norm(a) * jnp.linalg.norm(b))
