"""Knowledge distillation as a term: soft targets, their Gaussian KL, Sobolev targets; the Huber loss of any term."""

import functools
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.types import Coefficients, Field, is_traced
from ..models.model import Model
from ..pde.problem import Problem, Residual, Term
from ..pde.sampling import Sampler, box


def gaussian_kl(
    teacher: Float[Array, "*shape"],
    student: Float[Array, "*shape"],
    sigma_teacher: ArrayLike = 1.0,
    sigma_student: ArrayLike = 1.0,
    temperature: ArrayLike = 1.0,
) -> Float[Array, "*shape"]:
    """KL(N(u_T, (τσ_T)²) ‖ N(u_S, (τσ_S)²)) = log(σ_S/σ_T) + (τ²σ_T² + (u_T − u_S)²)/(2τ²σ_S²) − ½, elementwise.

    With σ_T = σ_S = σ and τ = 1 it is (u_T − u_S)²/(2σ²): a square error. Source: arXiv 2512.13336, the KD loss.
    """
    teacher_width, student_width = temperature * jnp.asarray(sigma_teacher), temperature * jnp.asarray(sigma_student)
    ratio = teacher_width / student_width
    return -jnp.log(ratio) + 0.5 * ratio**2 + (teacher - student) ** 2 / (2 * student_width**2) - 0.5


@functools.cache
def _domain(problem: Problem) -> Sampler:
    return box(problem.lower, problem.upper, logarithmic=problem.logarithmic)


@functools.cache  # one function for the same arguments: another teacher of the same shape does not trace anew
def _teach(draw: Sampler, with_slopes: bool) -> Callable[..., Array]:
    def sample(teacher: Model, key: Array, n: int) -> Float[Array, "n columns"]:
        """Rows (z, u_T(z)) or (z, u_T(z), ∂u_T(z)): the teacher is asked once a draw, and no gradient reaches it."""
        u = teacher.field

        def row(z: Array) -> Array:
            slopes = [jax.jacfwd(u)(z).ravel()] if with_slopes else []
            return jnp.concatenate([z, u(z), *slopes])

        return jax.lax.stop_gradient(jax.vmap(row)(draw(key, n)))

    return sample


@functools.cache
def _misfit(d: int, m: int, with_slopes: bool) -> Callable[..., Array]:
    def residual(scale: Array, sobolev: Array, extent: Array, u: Field, row: Array, c: Coefficients) -> Array:
        z, value, slopes = row[:d], row[d : d + m], row[d + m :]
        misfit = scale * (u(z) - value)
        if not with_slopes:
            return misfit
        slope_misfit = (jax.jacfwd(u)(z) - slopes.reshape(m, d)) * extent[None, :]
        return jnp.concatenate([misfit, jnp.sqrt(sobolev) * (scale[:, None] * slope_misfit).ravel()])

    return residual


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
    """The term that teaches: at distillation points, r = (u_S − u_T)/(√2 τ σ_S), so that |r|² is ``gaussian_kl`` up to
    the constant log(σ_S/σ_T) + σ_T²/(2σ_S²) − ½ that no gradient sees (0 for equal σ).

    Args:
        teacher: the frozen model.
        sigma_teacher, sigma_student: standard deviations σ_T, σ_S in the units of u; numbers, or one a field. σ_T moves
            the constant alone; it is checked, and named because the paper's loss has it.
        temperature: τ, which scales both.
        sobolev: weight of the teacher's first derivatives along every axis, each times the domain's extent along it
            (Czarnecki et al. 2017); 0 leaves them out.
        sample: where the distillation points come from; default the domain's box. count: how many.

    Raises:
        ValueError: a σ or τ is not positive, or sobolev is negative.
    """
    m, d = len(teacher.problem.fields), len(teacher.problem.axes)
    for name, value in (
        ("sigma_teacher", sigma_teacher),
        ("sigma_student", sigma_student),
        ("temperature", temperature),
    ):
        if not is_traced(value) and not np.all(np.asarray(value) > 0):  # numpy: inside jit, jnp would trace it
            raise ValueError(f"soft_target: {name}={value} must be positive")
    if sobolev < 0:
        raise ValueError(f"soft_target: sobolev={sobolev} must not be negative")
    dtype = teacher.dtype
    width = jnp.sqrt(2.0).astype(dtype) * jnp.asarray(temperature, dtype) * jnp.asarray(sigma_student, dtype)
    scale = jnp.broadcast_to(1 / width, (m,))
    extent = jnp.asarray(teacher.problem.upper, dtype) - jnp.asarray(teacher.problem.lower, dtype)
    return Term(
        Partial(_teach(sample or _domain(teacher.problem), sobolev > 0), replace(teacher, training=())),
        Partial(_misfit(d, m, sobolev > 0), scale, jnp.asarray(sobolev, dtype), extent),
        count,
    )


def _huber_residual(residual: Residual, delta: Array, u: Field, row: Array, c: Coefficients) -> Array:
    r = residual(u, row, c)
    size = jnp.abs(r)
    # sign(r)·√(2·huber(r)); the maximum keeps the branch not taken away from √ of a negative number.
    beyond = jnp.sign(r) * jnp.sqrt(jnp.maximum(2 * delta * size - delta**2, delta**2))
    return jnp.where(size <= delta, r, beyond)


def huber(term: Term, delta: float) -> Term:
    """The term under the Huber loss: |r|² up to δ, 2δ|r| − δ² beyond (component by component), against spikes of a
    condition. Source: Huber (1964), eq. 1.

    Raises:
        ValueError: δ is not positive.
    """
    if not delta > 0:
        raise ValueError(f"huber: delta={delta} must be positive")
    return replace(term, residual=Partial(_huber_residual, term.residual, jnp.asarray(delta)))
