"""Derivatives by their names: ``"u"``, ``"u_x"``, ``"u_xt"``, composed of a problem's fields and axes."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Field
from .derivatives import derivative
from .problem import Problem


def derivatives_of(problem: Problem, field: Field, names: Sequence[str]) -> Field:
    """The named values and derivatives of a field, as a field.

    Args:
        problem: supplies the names of the fields and axes.
        field: the solution, (d,) -> (m,).
        names: each is the name of a field, optionally followed by ``_`` and the names of one or two axes: ``"u_x"``,
            ``"u_xx"``.

    Returns:
        The field z (d,) -> (k,), in the order of the k names.

    Raises:
        ValueError: no names, or a name that is not of this form.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"derivatives={names!r} must be a tuple of names, such as ('u', 'u_x')")
    requested = [_parse(problem, name) for name in names]

    def named_values(z: Float[Array, " d"]) -> Float[Array, " k"]:
        values = {}
        for _, axes in requested:
            if axes not in values:
                differentiated = field
                for axis in axes:
                    differentiated = derivative(differentiated, axis)
                values[axes] = differentiated(z)
        return jnp.stack([values[axes][component] for component, axes in requested])

    return named_values


def _parse(problem: Problem, name: str) -> tuple[int, tuple[int, ...]]:
    """The component and the sorted axes of a name. The order of two axes does not matter."""
    axes = {axis: (i,) for i, axis in enumerate(problem.axes)}
    axes |= {a + b: (i, j) for i, a in enumerate(problem.axes) for j, b in enumerate(problem.axes)}
    known = {field: (i, ()) for i, field in enumerate(problem.fields)}
    known |= {f"{field}_{axis}": (i, along) for i, field in enumerate(problem.fields) for axis, along in axes.items()}
    if name not in known:
        raise ValueError(f"derivatives: {name!r} is unknown to problem {problem.name!r}{nearest(name, known)}")
    component, along = known[name]
    return component, tuple(sorted(along))
