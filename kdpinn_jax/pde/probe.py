"""How a problem's functions are traced without a network: a probe field takes its place, and shapes that of numbers."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array

from ..base.types import Ansatz, Coefficients, Field, Key

if TYPE_CHECKING:  # Problem compares what its functions compute
    from .problem import Problem, Term


def probe_field(v: Array, w: Array) -> Field:
    """The smallest field that depends on all of z and has every derivative: z -> w tanh(v · z).

    Args:
        v: (d,), d the number of coordinates.
        w: (m,), m the number of fields.

    Returns:
        The field, which raises ValueError at a point of another shape, as a network does with a longer message.
    """

    def field(z: Array) -> Array:
        if jnp.shape(z) != v.shape:
            raise ValueError(
                f"u is evaluated at a point of shape {jnp.shape(z)}; expected {v.shape}, one number per axis"
            )
        return w * jnp.tanh(jnp.sum(v * z))

    return field


def probed_ansatz(ansatz: Ansatz, v: Array, w: Array, z: Array, c: Coefficients) -> Any:
    """The value of an ansatz, or of a function with its signature, with the probe field as the network."""
    return ansatz(probe_field(v, w), z, c)


def ansatz_arguments(problem: "Problem") -> tuple[Any, ...]:
    """The shapes of v, w, z and the coefficients of ``probed_ansatz``, in JAX's precision."""
    z = abstract_floats(len(problem.axes))
    return z, abstract_floats(problem.outputs or len(problem.fields)), z, _abstract_coefficients(problem)


def draw_rows(term: "Term", key: Key) -> Any:
    """As many rows of a term as training draws."""
    return term.sample(key, term.count)


def probed_residual(term: "Term", v: Array, w: Array, row: Array, c: Coefficients) -> Any:
    """The residual of a term, with the probe field as the solution."""
    return term.residual(probe_field(v, w), row, c)


def residual_arguments(problem: "Problem", row: jax.ShapeDtypeStruct) -> tuple[Any, ...]:
    """The shapes of v, w, the row and the coefficients of ``probed_residual``, in JAX's precision."""
    d, m = len(problem.axes), len(problem.fields)
    return abstract_floats(d), abstract_floats(m), row, _abstract_coefficients(problem)


def abstract_floats(n: int) -> jax.ShapeDtypeStruct:
    """The shape of n numbers in JAX's precision."""
    return jax.ShapeDtypeStruct((n,), jnp.zeros(()).dtype)


def abstract_key() -> jax.ShapeDtypeStruct:
    """The shape of a random key."""
    return jax.ShapeDtypeStruct((), jax.random.key(0).dtype)


def _abstract_coefficients(problem: "Problem") -> dict[str, jax.ShapeDtypeStruct]:
    return dict.fromkeys(problem.coefficients, jax.ShapeDtypeStruct((), jnp.zeros(()).dtype))
