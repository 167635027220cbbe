"""``compile_predict``: the path of a model that callers put into their loops."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ..base.compiler import known_options
from ..base.types import Field, is_traced
from ..models.model import Model, check_points
from ..pde.derivative_names import derivatives_of
from . import xla
from .program import Program
from .trace import UnsupportedPrimitive, trace

#: XLA keeps to 256 bits where nobody says otherwise; a CPU without wider registers is not impressed.
_OPTIONS = {"xla_cpu_prefer_vector_width": "512"}
#: Points of one call of a compiled program at most: the layers of more leave the cache. Calls from here, in turns, take
#: less time than one call with a ``lax.map`` over blocks, whose body XLA compiles worse (benchmarks/README.md).
LARGEST = 16_384


def cast(model: Model, dtype: DTypeLike) -> Model:
    """The model with its parameters in another precision.

    Raises:
        ValueError: float64 is asked for and not enabled, or the type is neither float32 nor float64.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype={dtype} is not supported; use float32 or float64")
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError("dtype=float64 needs jax.config.update('jax_enable_x64', True) before any computation")
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), model.params)
    coefficients = {name: float(value) for name, value in model.coefficients.items()}
    return replace(model, params=params, coefficients=coefficients)


def cast_anywhere(model: Model, dtype: DTypeLike) -> Model:
    """``cast``, also in a session that has no float64."""
    with jax.enable_x64(True):
        return cast(model, dtype)


def compile_predict(
    model: Model,
    *,
    dtype: DTypeLike = jnp.float32,
    derivatives: Sequence[str] | None = None,
    sizes: Sequence[int] = (),
) -> Callable[[ArrayLike], np.ndarray]:
    """A function z (n, d) -> u (n, m) with the parameters compiled in as constants: the least work a call can do.

    Args:
        model: what to serve.
        dtype: precision of arithmetic and result, float32 or float64. Points of that type are taken as they are;
            others are converted, which costs more than a small batch.
        derivatives: what to return in the place of the fields, a column each: names of fields, alone or with one or
            two axes behind them, ``("u", "u_x", "u_xt")``, in the units of u over those of the axes.
        sizes: numbers of points that will come: compiled now, so that no later call waits, and exactly up to 16,384.

    Returns:
        A function of NumPy or JAX arrays that returns a NumPy array (n, m), or (n, k) of k derivatives; where nothing
        had to be copied it is read-only. Called within a function that JAX transforms it returns a JAX array.

        Other sizes than ``sizes`` are compiled when they are first needed: 1, 2, 4, … 64 and then eight in each octave
        up to 16,384; points in between are filled up to the next of these, an eighth more work at most, and more points
        are taken in turns.

    Raises:
        ValueError: as ``cast``, or a derivative of another form; the returned function raises it for points that are
            not (n, d). A size is not positive.
    """
    if not all(n > 0 for n in sizes):
        raise ValueError(f"sizes={tuple(sizes)} must be positive numbers of points")
    many, dtype = many_points(model, dtype, derivatives), np.dtype(dtype)
    batched = jax.jit(many, compiler_options=known_options(**_OPTIONS))
    inside = jax.jit(many)  # a program within another one may not choose its compiler's options
    problem, outputs = model.problem, len(model.problem.fields if derivatives is None else derivatives)
    array, asarray, d = np.ndarray, np.asarray, len(problem.axes)
    exact = frozenset(n for n in sizes if n <= LARGEST) | {1}

    def predict(z: Any) -> Any:
        # Nothing here may cost time at n = 1, where the program itself takes a few microseconds.
        if type(z) is not array or z.dtype != dtype:
            if is_traced(z):
                check_points(z.shape, problem)
                return inside(z.astype(dtype))
            z = asarray(z, dtype)
        if z.ndim != 2 or z.shape[1] != d:
            check_points(z.shape, problem)
        n = len(z)
        return asarray(batched(z)) if n in exact else in_turns(z) if n > LARGEST else filled(z)

    def filled(z: np.ndarray) -> np.ndarray:
        n, size = len(z), compiled_size(len(z))
        if n == size:
            return asarray(batched(z))
        if not n:
            return np.empty((0, outputs), dtype)
        # Repeats of a point, since made-up ones may lie where the solution is infinite.
        more = np.empty((size, d), dtype)
        more[:n], more[n:] = z, z[-1]
        return asarray(batched(more))[:n]

    def in_turns(z: np.ndarray) -> np.ndarray:
        u = np.empty((len(z), outputs), dtype)
        for start in range(0, len(z), LARGEST):
            u[start : start + LARGEST] = filled(z[start : start + LARGEST])
        return u

    for n in sizes:
        predict(np.tile(np.asarray(model.problem.lower, dtype), (n, 1)))
    return predict


def compiled_size(n: int) -> int:
    """The least size not below n for which a program is compiled."""
    octave = max(n - 1, 0).bit_length()
    step = 1 << max(octave - 4, 0) if octave > 6 else 1 << octave
    return -(-n // step) * step


def program_of(model: Model, of_point: Callable[[Field], Field] = lambda field: field) -> Program:
    """The program of the model's field, or of what ``of_point`` makes of it, from its weights in float64.

    Raises:
        UnsupportedPrimitive: as ``trace``.
    """
    return trace(of_point(cast_anywhere(model, np.float64).field), len(model.problem.axes))


def many_points(model: Model, dtype: DTypeLike, derivatives: Sequence[str] | None = None) -> Callable[[Array], Array]:
    """The function of many points, as a program or, where it cannot be one, point by point under ``jax.vmap``; to be
    jitted."""
    served = cast(model, dtype)
    of_point = lambda field: field if derivatives is None else derivatives_of(model.problem, field, derivatives)
    try:
        program = program_of(served, of_point)
    except UnsupportedPrimitive:
        return jax.vmap(of_point(served.field))
    return lambda z: xla.run(program, z)
