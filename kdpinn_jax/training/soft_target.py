"""Knowledge distillation as a term of the loss: soft targets, Sobolev targets, and the Huber loss of any term."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.types import Coefficients, Field, Residual, Sampler, is_traced
from ..models.model import Model
from ..pde.problem import Term
from ..pde.regions import domain_sampler


def gaussian_kl(
    teacher: Float[Array, "*shape"],
    student: Float[Array, "*shape"],
    sigma_teacher: ArrayLike = 1.0,
    sigma_student: ArrayLike = 1.0,
    temperature: ArrayLike = 1.0,
) -> Float[Array, "*shape"]:
    """The Kullback–Leibler divergence of two Gaussians centred on the teacher's and the student's values, elementwise:

        KL(N(u_T, (τσ_T)²) ‖ N(u_S, (τσ_S)²)) = log(σ_S/σ_T) + (τ²σ_T² + (u_T − u_S)²)/(2τ²σ_S²) − ½.

    For σ_T = σ_S = σ and τ = 1 it is the squared error (u_T − u_S)²/(2σ²).

    Args:
        teacher: u_T, in the units of u.
        student: u_S, in the units of u.
        sigma_teacher: σ_T, in the units of u.
        sigma_student: σ_S, in the units of u.
        temperature: τ, dimensionless.

    Source: arXiv 2512.13336, the KD loss.
    """
    teacher_width, student_width = temperature * jnp.asarray(sigma_teacher), temperature * jnp.asarray(sigma_student)
    ratio = teacher_width / student_width
    return -jnp.log(ratio) + 0.5 * ratio**2 + (teacher - student) ** 2 / (2 * student_width**2) - 0.5


# These are values and not closures, so that teachers of one shape share a program.
@dataclass(frozen=True)
class _TargetRows:
    """Rows (z, u_T(z)) or (z, u_T(z), ∂u_T(z)). The teacher is evaluated once per draw; no gradient reaches it."""

    draw: Sampler
    with_slopes: bool

    def __call__(self, teacher: Model, key: Array, n: int) -> Float[Array, "n columns"]:
        u = teacher.field

        def row(z: Array) -> Array:
            slopes = [jax.jacfwd(u)(z).ravel()] if self.with_slopes else []
            return jnp.concatenate([z, u(z), *slopes])

        return jax.lax.stop_gradient(jax.vmap(row)(self.draw(key, n)))


@dataclass(frozen=True)
class _TargetMisfit:
    """The weighted differences of values and slopes at one row."""

    d: int
    m: int
    with_slopes: bool

    def __call__(
        self, scale: Array, sobolev: Array, extent: Array, u: Field, row: Array, c: Coefficients
    ) -> Float[Array, " k"]:
        d, m = self.d, self.m
        z, value, slopes = row[:d], row[d : d + m], row[d + m :]
        misfit = scale * (u(z) - value)
        if not self.with_slopes:
            return misfit
        slope_misfit = (jax.jacfwd(u)(z) - slopes.reshape(m, d)) * extent[None, :]
        return jnp.concatenate([misfit, jnp.sqrt(sobolev) * (scale[:, None] * slope_misfit).ravel()])


def soft_target(
    teacher: Model,
    *,
    sigma_teacher: ArrayLike = 1.0,
    sigma_student: ArrayLike = 1.0,
    temperature: ArrayLike = 1.0,
    sobolev: float = 0.0,
    sample: Sampler | None = None,
    count: int = 2048,
) -> Term:
    """The distillation term, which pulls the student's values towards the teacher's: r = (u_S − u_T)/(√2 τ σ_S).

    |r|² is ``gaussian_kl`` without its constant log(σ_S/σ_T) + σ_T²/(2σ_S²) − ½, which has no gradient and is 0 for
    equal σ.

    Args:
        teacher: a trained model, whose parameters stay fixed.
        sigma_teacher: σ_T in the units of u, one number or one per field. It occurs only in the constant and is
            accepted because the paper's loss has it.
        sigma_student: σ_S in the units of u, one number or one per field.
        temperature: τ, dimensionless; it scales both σ.
        sobolev: the weight of the first derivatives of u_T along every axis, each multiplied by the extent of the
            domain along that axis (Czarnecki et al. 2017); 0 leaves them out.
        sample: a sampler of the distillation points; default the box of the domain, restricted to
            ``problem.inside``.
        count: the number of distillation points.

    Raises:
        ValueError: a σ or τ is not positive, or sobolev is negative.
    """
    m, d = len(teacher.problem.fields), len(teacher.problem.axes)
    for name, value in (
        ("sigma_teacher", sigma_teacher),
        ("sigma_student", sigma_student),
        ("temperature", temperature),
    ):
        if not is_traced(value) and not np.all(np.asarray(value) > 0):  # inside jit, jnp.all would be traced
            raise ValueError(f"soft_target: {name}={value} must be positive")
    if sobolev < 0:
        raise ValueError(f"soft_target: sobolev={sobolev} must not be negative")
    dtype = teacher.dtype
    width = jnp.sqrt(2.0).astype(dtype) * jnp.asarray(temperature, dtype) * jnp.asarray(sigma_student, dtype)
    scale = jnp.broadcast_to(1 / width, (m,))
    extent = jnp.asarray(teacher.problem.upper, dtype) - jnp.asarray(teacher.problem.lower, dtype)
    return Term(
        Partial(_TargetRows(sample or domain_sampler(teacher.problem), sobolev > 0), replace(teacher, training=())),
        Partial(_TargetMisfit(d, m, sobolev > 0), scale, jnp.asarray(sobolev, dtype), extent),
        count,
    )


def huber(term: Term, delta: float) -> Term:
    """The term with the Huber loss of each residual component r: r² for |r| ≤ δ, and 2δ|r| − δ² beyond.

    It limits the influence of spikes, such as those of a discontinuous condition.

    Args:
        term: any term.
        delta: δ, in the units of the residual.

    Raises:
        ValueError: δ is not positive.

    Source: Huber (1964), eq. 1.
    """
    if not delta > 0:
        raise ValueError(f"huber: delta={delta} must be positive")
    return replace(term, residual=Partial(_huber_residual, term.residual, jnp.asarray(delta)))


def _huber_residual(residual: Residual, delta: Array, u: Field, row: Array, c: Coefficients) -> Array:
    """sign(r) √(Huber loss of r), so that its square is the Huber loss."""
    r = residual(u, row, c)
    size = jnp.abs(r)
    # The maximum keeps the branch that is not selected from taking √ of a negative number.
    beyond = jnp.sign(r) * jnp.sqrt(jnp.maximum(2 * delta * size - delta**2, delta**2))
    return jnp.where(size <= delta, r, beyond)
