"""Indices beyond the end of an array, which JAX replaces by the last one: ``u(z)[1]`` of one field is ``u(z)[0]``.

An index that is a constant of the program is compared with the array that it applies to.
"""

from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.lax import GatherScatterMode

#: Primitives of one output by which JAX computes an index from constants.
_FOLDED = ("lt", "add", "select_n", "broadcast_in_dim", "convert_element_type", "reshape", "squeeze", "concatenate")


def index_beyond(program: ClosedJaxpr) -> tuple[int, int] | None:
    """The first constant index beyond the end of an array, and the length of that axis; None if there is none.

    Args:
        program: a traced function, as from ``jax.make_jaxpr``.
    """
    return _search(program.jaxpr, program.consts, [None] * len(program.jaxpr.invars))


def _search(jaxpr: Jaxpr, constants: list[Any], arguments: list[Any]) -> tuple[int, int] | None:
    """Follow the constants through a program. An unknown value is None."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, map(_integers, constants), strict=True))
    known |= dict(zip(jaxpr.invars, arguments, strict=True))

    def value(variable: Any) -> Any:
        return _integers(variable.val) if isinstance(variable, Literal) else known.get(variable)

    for equation in jaxpr.eqns:
        inputs, name = [value(variable) for variable in equation.invars], equation.primitive.name
        shapes = [getattr(variable.aval, "shape", ()) for variable in equation.invars]
        if (found := _beyond(name, equation.params, inputs, shapes)) is not None:
            return found
        for inner in _programs(equation.params):
            fits = len(inner.jaxpr.invars) == len(inputs)
            found = _search(inner.jaxpr, inner.consts, inputs if fits else [None] * len(inner.jaxpr.invars))
            if found is not None:
                return found
        if name in _FOLDED and all(constant is not None for constant in inputs):
            known[equation.outvars[0]] = np.asarray(equation.primitive.bind(*inputs, **equation.params))
    return None


def _integers(constant: Any) -> np.ndarray | None:
    """A constant that can be part of an index: an array of integers or bools."""
    # JAX 0.8 and 0.9 wrap arrays in a class of their own, which has a dtype as well.
    dtype = np.asarray(constant).dtype if isinstance(constant, bool | int) else getattr(constant, "dtype", None)
    return np.asarray(constant) if getattr(dtype, "kind", None) in ("i", "u", "b") else None


def _programs(params: dict[str, Any]) -> list[ClosedJaxpr]:
    several = [value if isinstance(value, tuple | list) else (value,) for value in params.values()]
    return [program for values in several for program in values if isinstance(program, ClosedJaxpr)]


def _beyond(name: str, params: dict[str, Any], inputs: list[Any], shapes: list[Any]) -> tuple[int, int] | None:
    if name == "dynamic_slice":
        pairs = zip(inputs[1:], params["slice_sizes"], shapes[0], strict=True)
        return _first((start, size, length) for start, size, length in pairs)
    if name == "gather" and params["mode"] == GatherScatterMode.PROMISE_IN_BOUNDS and inputs[1] is not None:
        axes, sizes = params["dimension_numbers"].start_index_map, params["slice_sizes"]
        return _first((inputs[1][..., i], sizes[axis], shapes[0][axis]) for i, axis in enumerate(axes))
    if name.startswith("scatter") and inputs[1] is not None:
        axes = params["dimension_numbers"].scatter_dims_to_operand_dims
        return _first((inputs[1][..., i], 1, shapes[0][axis]) for i, axis in enumerate(axes))
    return None


def _first(indices: Any) -> tuple[int, int] | None:
    for start, size, length in indices:
        if start is not None and np.size(start) and np.max(start) > length - size:
            return int(np.max(start)), int(length)
    return None
