"""ETDRK4 for stiff systems with a diagonal linear part, and interpolation of their solution between stored times."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

#: The number of stored times that an interpolation uses: polynomials of degree 7.
STENCIL = 8


def march(
    start: np.ndarray,
    rates: np.ndarray,
    force: Callable[[np.ndarray], np.ndarray],
    step: float,
    steps: int,
    stride: int,
) -> np.ndarray:
    """Solve y' = rates · y + force(y): y at the start and after every ``stride`` steps, (steps / stride + 1, …).

    The linear part, which is real and diagonal, is integrated exactly, and the force by a Runge–Kutta method of order
    4. Source: Cox & Matthews (2002), eq. 26–29; Kassam & Trefethen (2005).
    """
    linear = np.asarray(rates * step)
    # The φ-functions are means over a circle around each eigenvalue, because their formulas suffer from cancellation
    # near zero (Kassam & Trefethen 2005, section 3). The eigenvalues are real, so half a circle and the real part
    # suffice.
    lr = linear[..., None] + np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    half = step * np.mean((np.exp(lr / 2) - 1) / lr, axis=-1).real
    f1 = step * np.mean((-4 - lr + np.exp(lr) * (4 - 3 * lr + lr**2)) / lr**3, axis=-1).real
    f2 = step * np.mean((2 + lr + np.exp(lr) * (lr - 2)) / lr**3, axis=-1).real
    f3 = step * np.mean((-4 - 3 * lr - lr**2 + np.exp(lr) * (4 - lr)) / lr**3, axis=-1).real
    decay, half_decay = np.exp(linear), np.exp(linear / 2)
    y, stored = start, [start]
    for i in range(steps):
        n0 = force(y)
        a = half_decay * y + half * n0
        na = force(a)
        nb = force(half_decay * y + half * na)
        nc = force(half_decay * a + half * (2 * nb - n0))
        y = decay * y + f1 * n0 + 2 * f2 * (na + nb) + f3 * nc
        if (i + 1) % stride == 0:
            stored.append(y)
    return np.stack(stored)


def interpolated(stored: np.ndarray, position: Array) -> Float[Array, "*shape"]:
    """Interpolate rows (n, …) that are smooth along n at ``position``, a number from 0 to n − 1.

    The result is differentiable, and exact at integers.
    """
    nodes = np.arange(STENCIL)
    same = np.eye(STENCIL, dtype=bool)
    products = np.prod(np.where(same, 1.0, nodes[:, None] - nodes), axis=1)
    first = jnp.clip(jnp.floor(position).astype(int) - STENCIL // 2 + 1, 0, len(stored) - STENCIL)
    # Lagrange's formula in product form, which does not divide by zero at a node.
    weights = jnp.prod(jnp.where(same, 1.0, (position - first - nodes)[None, :]), axis=1) / products
    rows = jax.lax.dynamic_slice_in_dim(jnp.asarray(stored), first, STENCIL)
    return jnp.tensordot(weights, rows, 1)
