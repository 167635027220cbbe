"""The shapes of a domain in their places, and the tree that says how they are combined."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from .shapes import Shape


class Leaf(NamedTuple):
    """A shape in its place: z = rotation · x + shift for the points x of the shape.

    Attributes:
        shape: the shape.
        name: of the shape, for the parts of the boundary.
        rotation: the rows of a rotation matrix; None if there is none.
        shift: a vector; None if it is zero.
    """

    shape: Shape
    name: str
    rotation: tuple[tuple[float, ...], ...] | None = None
    shift: tuple[float, ...] | None = None

    def outward(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """A point of the shape in its place."""
        x = self.turned(x)
        return x if self.shift is None else x + jnp.asarray(self.shift, x.dtype)

    def turned(self, n: Float[Array, " d"]) -> Float[Array, " d"]:
        """A vector of the shape in its place."""
        return n if self.rotation is None else jnp.asarray(self.rotation, n.dtype) @ n

    def level(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """The level of the shape at a point in its place."""
        x = z if self.shift is None else z - jnp.asarray(self.shift, z.dtype)
        return self.shape.level(x if self.rotation is None else jnp.asarray(self.rotation, x.dtype).T @ x)

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """The corners of a box that contains the shape in its place."""
        lower, upper = np.asarray(self.shape.lower), np.asarray(self.shape.upper)
        centre, half = (lower + upper) / 2, (upper - lower) / 2
        if self.rotation is not None:
            matrix = np.asarray(self.rotation)
            centre, half = matrix @ centre, np.abs(matrix) @ half
        centre = centre if self.shift is None else centre + np.asarray(self.shift)
        return centre - half, centre + half


#: The index of a leaf, or an operation ("or", "and" or "not in") on two trees.
Tree = int | tuple[str, Any, Any]


def shifted(tree: Tree, by: int) -> Tree:
    """The tree with all indices increased."""
    if isinstance(tree, int):
        return tree + by
    return (tree[0], shifted(tree[1], by), shifted(tree[2], by))
