"""The arguments of ``Problem`` in their normal form: tuples of names, tuples of floats, and plain numbers.

Whatever a user passes, such as lists, arrays or NumPy scalars, becomes hashable, and fits every cache, file and table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..base.types import is_traced


def names(what: str, value: Sequence[str], *, required: bool = False) -> tuple[str, ...]:
    """A tuple of different names.

    Args:
        what: names the argument in the message.
        value: the names.
        required: whether there must be at least one.

    Raises:
        ValueError: one string instead of several, something other than strings, a repeated name, or none.
    """
    if isinstance(value, str):
        raise ValueError(f"{what}={value!r} is one string; expected a tuple of names, such as ({value!r},)")
    if not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{what}={value!r} must be a tuple of names, such as ('u',)")
    if len(set(value)) < len(value) or (required and not value):
        raise ValueError(f"{what}={tuple(value)} must be {'one or more ' * required}different names")
    return tuple(value)


def corner(what: str, value: Any, axes: tuple[str, ...]) -> tuple[float, ...]:
    """A corner of the domain as one float per axis.

    Args:
        what: names the argument in the message.
        value: a sequence or an array of numbers, or one number for a single axis.
        axes: the names of the axes.

    Raises:
        ValueError: another number of values, or one that is not a finite real number.
    """
    numbers = finite_floats(value)
    if numbers is None or len(numbers) != len(axes):
        expected = "one finite number" if len(axes) == 1 else f"{len(axes)} finite numbers"
        raise ValueError(f"{what}={value!r} must be {expected}, one for each of the axes {axes}")
    return numbers


def scalars(what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Coefficients or weights as plain numbers; those that are being traced stay as they are.

    Args:
        what: names the argument in the message.
        values: the numbers by name.

    Raises:
        ValueError: a value that is not one finite real number.
    """
    checked = {}
    for name, value in values.items():
        numbers = None if is_traced(value) or np.ndim(value) else finite_floats(value)
        if numbers is None and not is_traced(value):
            raise ValueError(
                f"{what}[{name!r}]={value!r} must be one finite number; give each entry of an array a name of its own "
                f"({name}0, {name}1, …), or use the array as a constant inside the residual"
            )
        checked[name] = value if numbers is None else numbers[0]
    return checked


def vector(what: str, value: Any, d: int | None = None) -> tuple[float, ...]:
    """The coordinates of a point or a vector.

    Args:
        what: names the argument in the message.
        value: a sequence or an array of numbers.
        d: how many there must be; default any number but none.

    Raises:
        ValueError: another number of values, or one that is not a finite real number.
    """
    numbers = finite_floats(value)
    if not numbers or np.ndim(value) != 1 or len(numbers) != (d or len(numbers)):
        raise ValueError(f"{what}={value!r} must be {d or 'some'} finite numbers, one per axis")
    return numbers


def finite_floats(value: Any) -> tuple[float, ...] | None:
    """Finite real numbers as floats; None if they are something else."""
    try:
        array = np.asarray(value)
    except ValueError:  # sequences of different lengths
        return None
    if array.dtype.kind not in "iuf" or array.ndim > 1 or not np.isfinite(array).all():
        return None
    return tuple(map(float, array.reshape(-1)))
