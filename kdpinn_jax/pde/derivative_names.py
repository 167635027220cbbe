"""Derivatives by name: ``"u"``, ``"u_x"``, ``"u_xt"`` of a problem's fields and axes."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from ..base.names import nearest
from ..base.types import Field
from .derivatives import derivative
from .problem import Problem


def derivatives_of(problem: Problem, field: Field, names: Sequence[str]) -> Field:
    """The field z (d,) -> (k,) of the values and derivatives named, in their order.

    A name is a field's, alone or followed by ``_`` and the names of one or two axes: ``"u_x"``, ``"u_xx"``.

    Raises:
        ValueError: no names, or one that is not of this form; the message says which.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"derivatives={names!r} must be a tuple of names, such as ('u', 'u_x')")
    wanted = [_parsed(problem, name) for name in names]

    def at(z: Array) -> Array:
        values = {}
        for _, axes in wanted:
            if axes not in values:
                of = field
                for axis in axes:
                    of = derivative(of, axis)
                values[axes] = of(z)
        return jnp.stack([values[axes][component] for component, axes in wanted])

    return at


def _parsed(problem: Problem, name: str) -> tuple[int, tuple[int, ...]]:
    """(field, axes) of a name. The order of two axes does not matter."""
    axes = {axis: (i,) for i, axis in enumerate(problem.axes)}
    axes |= {a + b: (i, j) for i, a in enumerate(problem.axes) for j, b in enumerate(problem.axes)}
    known = {field: (i, ()) for i, field in enumerate(problem.fields)}
    known |= {f"{field}_{axis}": (i, which) for i, field in enumerate(problem.fields) for axis, which in axes.items()}
    if name not in known:
        raise ValueError(f"derivatives: {name!r} is unknown to problem {problem.name!r}{nearest(name, known)}")
    component, which = known[name]
    return component, tuple(sorted(which))
