"""``compile_predict``: a model as a fast function for repeated calls."""

import functools
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ..base.compiler import known_options
from ..base.fork import check_not_forked
from ..base.types import Field, is_traced
from ..models.model import Model, check_points
from ..pde.derivative_names import derivatives_of
from . import xla
from .program import Program
from .trace import UnsupportedPrimitive, trace

#: XLA uses vectors of at most 256 bits by default. The option has no effect on a CPU without wider registers.
_OPTIONS = {"xla_cpu_prefer_vector_width": "512"}
#: The largest number of points per call of a compiled program; the layers of more points do not fit into the cache.
#: Repeated calls take less time than one call with a ``lax.map`` over blocks, whose body XLA compiles less well
#: (benchmarks/README.md).
LARGEST = 16_384


def cast(model: Model, dtype: DTypeLike) -> Model:
    """The model with its parameters in another precision.

    Args:
        model: any model.
        dtype: float32 or float64.

    Returns:
        A new model.

    Raises:
        ValueError: dtype is neither float32 nor float64, or is float64 while JAX has it disabled.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype={dtype} is not supported; use float32 or float64")
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError("dtype=float64 requires jax.config.update('jax_enable_x64', True) before any computation")
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), model.params)
    coefficients = {name: float(value) for name, value in model.coefficients.items()}
    return replace(model, params=params, coefficients=coefficients)


def cast_anywhere(model: Model, dtype: DTypeLike) -> Model:
    """``cast`` that also works if JAX has float64 disabled."""
    with jax.enable_x64(True):
        return cast(model, dtype)


def compile_predict(
    model: Model,
    *,
    dtype: DTypeLike = jnp.float32,
    derivatives: Sequence[str] | None = None,
    sizes: Sequence[int] = (),
) -> Callable[[ArrayLike], np.ndarray]:
    """Compile a model into a fast function z (n, d) -> u (n, m), with its parameters as constants.

    Args:
        model: the model to serve.
        dtype: precision of arithmetic and result, float32 or float64. Points of this type are used directly; others are
            converted, which costs more than the evaluation of a small batch.
        derivatives: what to return instead of the fields, one column each: names of fields, optionally followed by one
            or two axes, ``("u", "u_x", "u_xt")``. Units are those of u divided by those of the axes.
        sizes: expected numbers of points. They are compiled now, so that no later call waits; those up to 16,384 are
            compiled exactly.

    Returns:
        A function of NumPy or JAX arrays that returns a NumPy array (n, m), or (n, k) for k derivatives. The array is
        read-only if it did not have to be copied. Within a function that JAX transforms, it returns a JAX array.

        Sizes that are not in ``sizes`` are compiled when they are first needed: 1, 2, 4, … 64, and then eight sizes per
        octave up to 16,384. A batch between two of these is padded to the larger, which adds at most one eighth to the
        work; a larger batch is evaluated in chunks. Rows of points that contain NaN give rows of NaN. The function
        raises ValueError for points that are not (n, d). It can be pickled; unpickling compiles it again.

    Raises:
        ValueError: as ``cast``, a derivative that is not of the form above, or a size that is not positive.

    Warns:
        RuntimeWarning: the embedding or ansatz contains an operation that ``export_c`` does not support, so that the
            function takes up to three times as long for many points. The message names the operation.
    """
    check_not_forked()
    if not all(n > 0 for n in sizes):
        raise ValueError(f"sizes={tuple(sizes)} must be positive numbers of points")
    field_of_points, dtype = many_points(model, dtype, derivatives, stacklevel=3), np.dtype(dtype)
    compiled = jax.jit(field_of_points, compiler_options=known_options(**_OPTIONS))
    nested = jax.jit(field_of_points)  # a program within another one cannot have compiler options of its own
    problem, outputs = model.problem, len(model.problem.fields if derivatives is None else derivatives)
    ndarray, asarray, d = np.ndarray, np.asarray, len(problem.axes)
    exact_sizes = frozenset(n for n in sizes if n <= LARGEST) | {1}

    def predict(z: Any) -> Any:
        # Every statement counts at n = 1, where the program itself takes a few microseconds.
        if type(z) is not ndarray or z.dtype != dtype:
            if is_traced(z):
                check_points(z.shape, problem)
                return nested(z.astype(dtype))
            z = asarray(z, dtype)
        if z.ndim != 2 or z.shape[1] != d:
            check_points(z.shape, problem)
        n = len(z)
        return asarray(compiled(z)) if n in exact_sizes else predict_chunks(z) if n > LARGEST else predict_padded(z)

    def predict_padded(z: np.ndarray) -> np.ndarray:
        n, size = len(z), compiled_size(len(z))
        if n == size:
            return asarray(compiled(z))
        if not n:
            return np.empty((0, outputs), dtype)
        # The last point is repeated, because the solution may be infinite at an arbitrary point.
        padded = np.empty((size, d), dtype)
        padded[:n], padded[n:] = z, z[-1]
        return asarray(compiled(padded))[:n]

    def predict_chunks(z: np.ndarray) -> np.ndarray:
        u = np.empty((len(z), outputs), dtype)
        for start in range(0, len(z), LARGEST):
            u[start : start + LARGEST] = predict_padded(z[start : start + LARGEST])
        return u

    for n in sizes:
        predict(np.tile(np.asarray(model.problem.lower, dtype), (n, 1)))
    again = functools.partial(compile_predict, model, dtype=dtype, derivatives=derivatives, sizes=sizes)
    return _Predictor(predict, again, os.getpid())


@dataclass(frozen=True)
class _Predictor:
    """A compiled function that can be pickled: another process compiles it again.

    Attributes:
        predict: the function.
        again: makes the predictor from its model and its options.
        process: the process that compiled it.
    """

    predict: Callable[[Any], Any]
    again: Callable[[], Callable[..., Any]]
    process: int

    def __call__(self, z: Any) -> Any:
        if os.getpid() != self.process:
            check_not_forked()
        return self.predict(z)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.again, ()


def compiled_size(n: int) -> int:
    """The smallest size, not less than n, for which a program is compiled."""
    octave = max(n - 1, 0).bit_length()
    step = 1 << max(octave - 4, 0) if octave > 6 else 1 << octave
    return -(-n // step) * step


def program_of(model: Model, of_point: Callable[[Field], Field] = lambda field: field) -> Program:
    """The program of the model's field, with its parameters in float64.

    Args:
        model: any model.
        of_point: is applied to the field before it is traced.

    Raises:
        UnsupportedPrimitive: as ``trace``.
    """
    return trace(of_point(cast_anywhere(model, np.float64).field), len(model.problem.axes))


def many_points(
    model: Model, dtype: DTypeLike, derivatives: Sequence[str] | None = None, *, stacklevel: int = 2
) -> Callable[[Array], Array]:
    """The field, or the named derivatives, as a function of many points, to be jitted; NaN where a coordinate is NaN.

    It runs the model's program. If a straight-line program cannot express the field, it evaluates the field under
    ``jax.vmap`` and gives a warning, which is attributed to the caller at ``stacklevel``.
    """
    model = cast(model, dtype)

    def requested(field: Field) -> Field:
        return field if derivatives is None else derivatives_of(model.problem, field, derivatives)

    try:
        program = program_of(model, requested)
    except UnsupportedPrimitive as error:
        message = f"the model is evaluated by jax.vmap, which takes up to three times as long for many points: {error}"
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel)
    else:
        return lambda z: xla.run(program, z)

    def evaluate(z: Array) -> Array:
        return jnp.where(jnp.isnan(z).any(axis=1, keepdims=True), jnp.nan, jax.vmap(requested(model.field))(z))

    return evaluate
