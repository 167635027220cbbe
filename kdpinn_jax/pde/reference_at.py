"""References that are data: the values of a solution at points, such as the nodes of a finite-element mesh."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.types import Coefficients, Field


@dataclass(frozen=True, eq=False)
class PointReference:
    """The values of a solution at points. It is a reference that is known nowhere else.

    Attributes:
        z: (n, d), the points.
        values: (n, m), the values, without rows that are not finite.
    """

    z: Float[np.ndarray, "n d"]
    values: Float[np.ndarray, "n m"]

    def __call__(self, c: Coefficients) -> Field:
        """A field that is NaN, for callers that need one at any point."""

        def u(z: Float[Array, " d"]) -> Float[Array, " m"]:
            return jnp.full(self.values.shape[1], jnp.nan, z.dtype)

        return u

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PointReference):
            return False
        return np.array_equal(self.z, other.z) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.z.tobytes(), self.values.tobytes()))


def reference_at(z: ArrayLike, values: ArrayLike) -> PointReference:
    """A reference solution that is known at points, as from a finite-element program.

    ``Problem(reference=reference_at(z, values))`` measures errors at these points, and so does
    ``evaluate(model, reference=reference_at(z, values))``.

    Args:
        z: (n, d), the coordinates in the order of the problem's axes.
        values: (n, m), the fields in the problem's order. Rows with NaN are left out.

    Raises:
        ValueError: the shapes do not fit, a coordinate is not finite, or no row of values is finite.
    """
    points, fields = np.asarray(z, float), np.asarray(values, float)
    if points.ndim != 2 or fields.ndim != 2 or len(points) != len(fields):
        raise ValueError(
            f"reference_at: z has shape {points.shape} and values {fields.shape}; expected (n, d) and (n, m), one row "
            "per point"
        )
    if not np.isfinite(points).all():
        raise ValueError("reference_at: z contains NaN or infinity; remove those rows")
    known = np.isfinite(fields).all(axis=1)
    if not known.any():
        raise ValueError("reference_at: no row of values is finite; give at least one point with all fields")
    return PointReference(points[known], fields[known])
