"""The damped least-squares step for a dense Jacobian, by Cholesky factorisation of the smaller of two systems.

With J (R × P), damping λ and Marquardt's scaling D = diag(dⱼ) every step has the form

    x = (JᵀJ + λD)⁻¹ Jᵀv = D⁻¹Jᵀ (J D⁻¹Jᵀ + λI)⁻¹ v.

The first system has P unknowns. The second, the kernel form, has R and serves networks with more parameters than
residuals.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

#: Columns per panel of the Gram matrix, of which only the lower triangle is computed. Narrow panels skip more of the
#: upper triangle, wide ones are faster products; measured for 921 and 2403 parameters (benchmarks/iteration.py).
PANEL, WIDE_PANEL, WIDE = 256, 512, 1500


class Gram(NamedTuple):
    """The lower triangle of JᵀJ, or of J D⁻¹Jᵀ in kernel form.

    Attributes:
        jacobian: J, which ``solve`` needs as well.
        scale: the diagonal of D.
        matrix: the lower triangle.
    """

    jacobian: Float[Array, "r p"]
    scale: Float[Array, " p"]
    matrix: Float[Array, "s s"]

    @property
    def is_kernel(self) -> bool:
        return _is_kernel(self.jacobian)


def gram(jacobian: Float[Array, "r p"], scale: Float[Array, " p"]) -> Gram:
    """The matrix to factorise for this Jacobian and scaling, without damping."""
    kernel = _is_kernel(jacobian)
    return Gram(jacobian, scale, _lower_product(jacobian / jnp.sqrt(scale)[None, :] if kernel else jacobian.T))


def _is_kernel(jacobian: Float[Array, "r p"]) -> bool:
    return jacobian.shape[0] < jacobian.shape[1]


def _lower_product(a: Float[Array, "s t"]) -> Float[Array, "s s"]:
    """The lower triangle of A Aᵀ. The upper triangle is zero, except within the diagonal block of a panel."""
    size = len(a)
    width = PANEL if size < WIDE else WIDE_PANEL
    starts = range(0, size, width)
    panels = [jnp.pad(a[start:] @ a[start : start + width].T, ((start, 0), (0, 0))) for start in starts]
    return jnp.concatenate(panels, axis=1)


def factorise(system: Gram, damping: Float[Array, ""]) -> Float[Array, "s s"]:
    """The Cholesky factor of the damped matrix; NaN if the matrix is not positive definite in this precision."""
    diagonal = damping * (jnp.ones(len(system.matrix), system.scale.dtype) if system.is_kernel else system.scale)
    return jax.lax.linalg.cholesky(system.matrix + jnp.diag(diagonal), symmetrize_input=False)


def solve(system: Gram, factor: Float[Array, "s s"], v: Float[Array, " r"]) -> Float[Array, " p"]:
    """The step x for a vector v of the length of the residuals, given the factor from ``factorise``."""
    if system.is_kernel:
        return (jax.scipy.linalg.cho_solve((factor, True), v) @ system.jacobian) / system.scale
    return jax.scipy.linalg.cho_solve((factor, True), v @ system.jacobian)
