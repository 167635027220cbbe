"""What a condition prescribes: values, which may vary in space and time, of some of the fields."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from ..base.names import nearest
from ..base.types import Coefficients, is_traced
from .arguments import finite_floats

#: A prescribed value: one number for all constrained fields, k numbers, or ``(z, coefficients) -> (k,)``.
Value = float | Sequence[float] | Callable[[Array, Coefficients], Array]
#: Some of the fields, by their names or their indices; one alone may be given without a tuple.
Fields = str | int | Sequence[str] | Sequence[int]


def checked_value(what: str, value: Any) -> Any:
    """A function, a float, or a tuple of floats.

    Args:
        what: the condition, for the message.
        value: as given by the user.

    Raises:
        ValueError: it is something else.
    """
    if callable(value) or is_traced(value):
        return value
    numbers = finite_floats(value)
    if numbers is None:
        raise ValueError(
            f"{what}: value={value!r} must be a finite number, one for each field, or a function of (z, coefficients)"
        )
    return numbers if np.ndim(value) else numbers[0]


def values_at(what: str, value: Any, z: Array, c: Coefficients, like: Array) -> Array:
    """The prescribed values at a point.

    Args:
        what: the condition, for the message.
        value: from ``checked_value``.
        z: (d,), the point.
        c: the coefficients of the equation.
        like: (k,), the constrained quantities.

    Returns:
        One number, or k numbers.

    Raises:
        ValueError: a function returns another shape.
    """
    values = jnp.asarray(value(z, c) if callable(value) else value, like.dtype)
    if values.ndim and values.shape != like.shape:
        raise ValueError(
            f"{what}: value has shape {values.shape}; expected {like.shape}, one number for each constrained field"
        )
    return values


def checked_fields(what: str, fields: Fields | None) -> tuple[str | int, ...] | None:
    """Names or indices of fields as a tuple; None for all.

    Args:
        what: the condition, for the message.
        fields: as given by the user.

    Raises:
        ValueError: they are something else.
    """
    if fields is None:
        return None
    several = tuple(fields) if isinstance(fields, Sequence) and not isinstance(fields, str) else (fields,)
    if not several or any(
        isinstance(field, bool) or not isinstance(field, str | int | np.integer) for field in several
    ):
        raise ValueError(f"{what}: fields={fields!r} must be names or indices of fields, such as ('u',) or (0,)")
    return tuple(field if isinstance(field, str) else int(field) for field in several)


def field_indices(what: str, fields: tuple[str | int, ...] | None, names: tuple[str, ...]) -> tuple[int, ...] | None:
    """The indices of fields in a problem; None for all.

    Args:
        what: the condition, for the message.
        fields: from ``checked_fields``.
        names: the fields of the problem.

    Raises:
        ValueError: a field is unknown, or named twice.
    """
    if fields is None:
        return None
    for field in fields:
        if isinstance(field, str) and field not in names:
            raise ValueError(f"{what}: field {field!r} is unknown{nearest(field, names)}; the fields are {names}")
        if isinstance(field, int) and not 0 <= field < len(names):
            raise ValueError(f"{what}: field {field} does not exist; the fields {names} have indices from 0")
    indices = tuple(names.index(field) if isinstance(field, str) else field for field in fields)
    if len(set(indices)) < len(indices):
        raise ValueError(f"{what}: fields={fields} names a field twice")
    return indices


def with_field_indices(residual: Any, names: tuple[str, ...]) -> Any:
    """A condition with the indices of its fields in a problem instead of their names.

    It is the method ``for_fields`` of every condition that has ``condition``, its name in messages, and ``fields``.

    Args:
        residual: the condition, a frozen dataclass.
        names: the fields of the problem.

    Raises:
        ValueError: as ``field_indices``.
    """
    indices = field_indices(residual.condition, residual.fields, names)
    return residual if indices == residual.fields else replace(residual, fields=indices)
