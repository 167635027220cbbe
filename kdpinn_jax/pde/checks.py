"""Checks of a problem's functions: each is traced once, before training, and must return what its place requires.

Broadcasting turns many wrong shapes into wrong numbers: one column of measured values for three fields, or a residual
that is a scalar. An index beyond the end of an array gives its last entry. Tracing takes milliseconds and finds them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from ..base.names import one_line
from .indices import index_beyond
from .probe import (
    abstract_floats,
    abstract_key,
    ansatz_arguments,
    draw_rows,
    probed_ansatz,
    probed_residual,
    residual_arguments,
)
from .problem import Problem, Term

_Shape = jax.ShapeDtypeStruct


@functools.lru_cache(maxsize=64)
def check_problem(problem: Problem) -> None:
    """Check the embedding, the ansatz and all terms of a problem.

    Raises:
        ValueError: one of them raises an exception, or does not return one real array of the expected shape.
    """
    what = f"problem {problem.name!r}: embed"
    inputs = _returned(what, problem, problem.embedding, abstract_floats(len(problem.axes)))
    if len(inputs.shape) != 1 or not inputs.shape[0]:
        raise ValueError(f"{what} returns shape {inputs.shape}; expected (inputs,), a vector of network inputs")
    if problem.ansatz is not None:
        check_field(f"problem {problem.name!r}: ansatz", problem, problem.ansatz)
    for name, term in problem.terms.items():
        check_term(problem, name, term)


def check_field(what: str, problem: Problem, function: Callable[..., Any]) -> None:
    """Check that ``(net, z, coefficients) -> u`` returns one value per field.

    Args:
        what: names the function in the message.
        problem: supplies the axes, the fields and the coefficients.
        function: has the signature of an ansatz.

    Raises:
        ValueError: as ``check_problem``.
    """
    value = _returned(what, problem, functools.partial(probed_ansatz, function), *ansatz_arguments(problem))
    m = len(problem.fields)
    if value.shape != (m,):
        raise ValueError(
            f"{what} returns shape {value.shape}; expected ({m},), one value for each of the fields "
            f"{', '.join(problem.fields)}{_vector_hint(value.shape)}"
        )


def check_term(problem: Problem, name: str, term: Term) -> None:
    """Check the sampler and the residual of a term.

    Args:
        problem: supplies the axes, the fields and the coefficients.
        name: the name of the term in the message.
        term: one of the problem's terms, or another one for the same problem.

    Raises:
        ValueError: as ``check_problem``, or the sampler returns another number of rows than it was asked for.
    """
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda term: term, term))
    _check_term(problem, name, structure, tuple(leaves))


@functools.lru_cache(maxsize=256)  # terms that differ in their numbers alone are checked once
def _check_term(problem: Problem, name: str, structure: Any, leaves: tuple[_Shape, ...]) -> None:
    term = jax.tree.unflatten(structure, leaves)
    d, what = len(problem.axes), f"problem {problem.name!r}: term {name!r}: sample(key, {term.count})"
    rows = _returned(what, problem, draw_rows, term, abstract_key())
    if len(rows.shape) != 2 or rows.shape[0] != term.count or rows.shape[1] < d:
        raise ValueError(
            f"{what} returns shape {rows.shape}; expected ({term.count}, {d}), one row per point with the columns "
            f"{', '.join(problem.axes)}, which columns of data may follow"
        )
    normals = 2 * d - len(problem.family)  # a coefficient has no component of the normal
    if _needs_normals(term.residual) and rows.shape[1] != normals:
        raise ValueError(
            f"problem {problem.name!r}: term {name!r} needs the outward normal in its rows, which have {rows.shape[1]} "
            f"columns instead of {normals}; sample it with normals=True, as in domain.boundary(normals=True) or "
            "kd.faces(lower, upper, axes, normals=True)"
        )
    what = f"problem {problem.name!r}: residual of term {name!r}"
    row = _Shape(rows.shape[1:], rows.dtype)
    value = _returned(what, problem, probed_residual, term, *residual_arguments(problem, row))
    if len(value.shape) != 1 or not value.shape[0]:
        raise ValueError(
            f"{what} returns shape {value.shape}; expected (k,), the k numbers that must vanish at one point"
            f"{_vector_hint(value.shape)}"
        )


def _needs_normals(residual: Any) -> bool:
    """Whether a residual, or one that it wraps, is a condition on the normal derivative."""
    if isinstance(residual, Partial):
        return any(map(_needs_normals, (residual.func, *residual.args)))
    return bool(getattr(residual, "needs_normals", False))


def _returned(what: str, problem: Problem, function: Callable[..., Any], *arguments: Any) -> _Shape:
    """Shape and type of the one real array that a function returns."""
    try:
        program, value = jax.make_jaxpr(function, return_shape=True)(*arguments)
    except KeyError as error:
        known = ", ".join(problem.coefficients) or "none"
        raise ValueError(f"{what} raises KeyError: {error}; the coefficients of the problem are: {known}") from error
    except jax.errors.JAXTypeError:  # ``if``, ``float`` or NumPy on a traced number
        raise ValueError(
            f"{what} cannot be traced by JAX; use jax.numpy in place of numpy and math, and jnp.where in place of 'if'"
        ) from None
    except Exception as error:  # whatever the user's function raises
        raise ValueError(f"{what} raises {type(error).__name__}: {one_line(error)}") from error
    if (beyond := index_beyond(program)) is not None:
        index, length = beyond
        raise ValueError(
            f"{what} uses the index {index} of an array of length {length}, in place of which JAX takes the last one; "
            f"the problem has the axes {', '.join(problem.axes)} and the fields {', '.join(problem.fields)}"
        )
    if not isinstance(value, _Shape):
        hint = "is its return missing?" if value is None else "use jnp.stack or jnp.concatenate"
        raise ValueError(f"{what} returns {_kind(value)}; expected one array: {hint}")
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(
            f"{what} returns complex numbers; expected real ones: make the real and the imaginary part two fields, and "
            "return the real and the imaginary part of the equation"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"{what} returns numbers of type {value.dtype}; expected floating-point numbers")
    return value


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__} of {len(jax.tree.leaves(value))} arrays"


def _vector_hint(shape: tuple[int, ...]) -> str:
    """How to make a vector of a scalar."""
    return "; put the scalar r into a vector by r[None] or jnp.stack([r]), or keep its axis by u(z)[:1]" * (not shape)
