"""A program as a JAX function of many points, features first: each row is a neuron of a layer and each column a point.

XLA:CPU then vectorises every operation over the points. This made the student of `burgers` twice as fast as with points
in the rows (benchmarks/README.md).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from .lower import lower
from .program import LAX_NAMES, Program

#: tanh(x) ≈ x P(x²)/Q(x²) for |x| ≤ TANH_CLAMP, and ±1 to the last digit beyond; lowest powers first. The fit is for
#: float32: its largest error, 2.6e-7, is that of ``jax.lax.tanh``.
TANH_CLAMP = 8.5
TANH_P = (0.9999999404, 0.134062022, 0.003525815438, 2.112151196e-05, 1.40991725e-08)
TANH_Q = (1.0, 0.4673951268, 0.02599112131, 0.0003335684305, 8.073587878e-07)


def run(program: Program, z: Float[Array, "n d"]) -> Float[Array, "n k"]:
    """The program's outputs at every point, in the precision of the points."""
    backend = _FeaturesFirst(z.T)
    return backend.stack(lower(program, backend)).T


class _FeaturesFirst:
    """A backend whose values are arrays with the points along the last axis."""

    def __init__(self, points: Float[Array, "d n"]) -> None:
        self.points = points

    def input(self) -> Array:
        return self.points

    def constant(self, value: float | bool) -> Array:
        return jnp.asarray(value, bool if isinstance(value, bool) else self.points.dtype)

    def constants(self, values: tuple[float, ...]) -> Array:
        return jnp.stack([self.constant(value) for value in values])[:, None]

    def lane(self, vector: Array, lane: int) -> Array:
        return vector[lane : lane + 1]

    def stack(self, numbers: Sequence[Array]) -> Array:
        return jnp.concatenate([jnp.broadcast_to(number, (1, self.points.shape[1])) for number in numbers])

    def dot(self, vector: Array, matrix: np.ndarray, bias: np.ndarray | None) -> Array:
        # The highest precision has no effect on a CPU, and keeps an accelerator from rounding to 10 or 8 bits.
        product = jnp.matmul(matrix.T.astype(vector.dtype), vector, precision=jax.lax.Precision.HIGHEST)
        return product if bias is None else product + bias.astype(vector.dtype)[:, None]

    def apply(self, operation: str, arguments: Sequence[Array]) -> Array:
        if self.points.dtype == jnp.float32 and operation in ("tanh", "logistic"):
            (x,) = arguments
            return _tanh(x) if operation == "tanh" else 0.5 + 0.5 * _tanh(0.5 * x)
        if operation == "rint":
            return jax.lax.round(arguments[0], jax.lax.RoundingMethod.TO_NEAREST_EVEN)
        return getattr(jax.lax, LAX_NAMES.get(operation, operation))(*jnp.broadcast_arrays(*arguments))


def _tanh(x: Array) -> Array:
    """tanh in a third of the time of ``jax.lax.tanh``, which takes half of a student's time in XLA:CPU."""
    x = jnp.clip(x, -TANH_CLAMP, TANH_CLAMP)
    s = x * x
    return x * _polynomial(TANH_P, s) / _polynomial(TANH_Q, s)


def _polynomial(coefficients: tuple[float, ...], s: Array) -> Array:
    value = jnp.full_like(s, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = c + s * value
    return value
