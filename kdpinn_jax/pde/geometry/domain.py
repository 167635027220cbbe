"""Domains built from shapes by set operations and rigid motions, and the same domains over an interval of time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from ...base.names import nearest
from ...base.types import Sampler
from ..arguments import vector
from ..inside import Predicate
from ..sampling import Design
from .draw import boundary_sampler, interior_sampler
from .leaf import Leaf, Tree, shifted
from .shapes import Piece, Shape

#: A point counts as inside up to this distance from the boundary, relative to the extent: the rounding of float32.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Domain:
    """A set of points in space: shapes, combined by ``|`` (union), ``-`` (difference) and ``&`` (intersection).

    A domain is a value and a predicate: ``inside=domain`` makes it the domain of a problem.

    Attributes:
        leaves: the shapes.
        tree: how they are combined.
    """

    leaves: tuple[Leaf, ...]
    tree: Tree = 0

    @property
    def dimension(self) -> int:
        """The number of coordinates."""
        return len(self.leaves[0].shape.lower)

    @property
    def lower(self) -> tuple[float, ...]:
        """The lower corner of a box that contains the domain."""
        return tuple(self._box(self.tree)[0].tolist())

    @property
    def upper(self) -> tuple[float, ...]:
        """The upper corner of a box that contains the domain."""
        return tuple(self._box(self.tree)[1].tolist())

    def _box(self, tree: Tree) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(tree, int):
            return self.leaves[tree].box()
        (lower_a, upper_a), (lower_b, upper_b) = self._box(tree[1]), self._box(tree[2])
        if tree[0] == "or":
            return np.minimum(lower_a, lower_b), np.maximum(upper_a, upper_b)
        return (
            (lower_a, upper_a) if tree[0] == "not in" else (np.maximum(lower_a, lower_b), np.minimum(upper_a, upper_b))
        )

    def __or__(self, other: "Domain") -> "Domain":
        return self._combined("or", other)

    def __and__(self, other: "Domain") -> "Domain":
        return self._combined("and", other)

    def __sub__(self, other: "Domain") -> "Domain":
        return self._combined("not in", other)

    def _combined(self, operation: str, other: "Domain") -> "Domain":
        if not isinstance(other, Domain):
            raise ValueError(f"geometry: {other!r} is no domain; combine domains of kd.geometry with |, - and &")
        if other.dimension != self.dimension:
            raise ValueError(
                f"geometry: a domain in {self.dimension} dimensions and one in {other.dimension} cannot be combined"
            )
        return Domain((*self.leaves, *other.leaves), (operation, self.tree, shifted(other.tree, len(self.leaves))))

    def translated(self, shift: Sequence[float]) -> "Domain":
        """The domain moved by a vector."""
        return self._moved(
            np.eye(self.dimension), np.array(vector("geometry.translated: shift", shift, self.dimension))
        )

    def rotated(
        self, angle: float, *, about: Sequence[float] | None = None, axis: Sequence[float] = (0.0, 0.0, 1.0)
    ) -> "Domain":
        """The domain turned counter-clockwise, in two or three dimensions.

        Args:
            angle: in radians.
            about: a fixed point; default the origin.
            axis: the direction of the axis in three dimensions, about which the rotation is right-handed.
        """
        if self.dimension not in (2, 3):
            raise ValueError(f"geometry.rotated: the domain has {self.dimension} dimensions; expected 2 or 3")
        centre = np.array(vector("geometry.rotated: about", about or (0.0,) * self.dimension, self.dimension))
        cos, sin = np.cos(angle), np.sin(angle)
        if self.dimension == 2:
            matrix = np.array([[cos, -sin], [sin, cos]])
        else:
            k = np.array(vector("geometry.rotated: axis", axis, 3))
            if not np.any(k):
                raise ValueError("geometry.rotated: axis=(0, 0, 0) is no direction")
            x, y, z = k / np.linalg.norm(k)
            cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
            matrix = np.eye(3) + sin * cross + (1 - cos) * cross @ cross
        return self._moved(matrix, centre - matrix @ centre)

    def _moved(self, matrix: np.ndarray, by: np.ndarray) -> "Domain":
        def moved(leaf: Leaf) -> Leaf:
            rotation = matrix if leaf.rotation is None else matrix @ np.asarray(leaf.rotation)
            shift = by if leaf.shift is None else matrix @ np.asarray(leaf.shift) + by
            turned = not np.array_equal(rotation, np.eye(self.dimension))
            return leaf._replace(
                rotation=tuple(map(tuple, rotation.tolist())) if turned else None, shift=tuple(shift.tolist())
            )

        return replace(self, leaves=tuple(map(moved, self.leaves)))

    def level(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """Negative inside, zero on the boundary, and close to the distance from it nearby."""
        return self.combine([leaf.level(z) for leaf in self.leaves])

    def combine(self, levels: Sequence[Array]) -> Array:
        """The level of the domain from those of its shapes."""

        def combined(tree: Tree) -> Array:
            if isinstance(tree, int):
                return levels[tree]
            a, b = combined(tree[1]), combined(tree[2])
            return jnp.minimum(a, b) if tree[0] == "or" else jnp.maximum(a, b if tree[0] == "and" else -b)

        return combined(self.tree)

    def __call__(self, z: Float[Array, " d"]) -> Bool[Array, ""]:
        """Whether a point belongs to the domain or to its boundary, up to the rounding of float32."""
        return self.level(z) <= _ROUNDING * float(np.max(np.subtract(self.upper, self.lower)))

    @property
    def parts(self) -> tuple[str, ...]:
        """The names that ``boundary`` knows: those of shapes, and of their sides."""
        names = {}
        for leaf in self.leaves:
            names |= {leaf.name: None} | {
                f"{leaf.name}.{piece.name}": None for piece in leaf.shape.pieces() if piece.name
            }
        return tuple(names)

    def pieces(self, part: str | None) -> tuple[tuple[int, Piece], ...]:
        """The pieces of the boundary of each shape, with the indices of the shapes.

        Args:
            part: a name from ``parts``, or None for all.

        Raises:
            ValueError: the part is unknown.
        """
        everything = [(i, piece) for i, leaf in enumerate(self.leaves) for piece in leaf.shape.pieces()]
        if part is None:
            return tuple(everything)
        names = lambda i, piece: (self.leaves[i].name, f"{self.leaves[i].name}.{piece.name}")
        chosen = tuple((i, piece) for i, piece in everything if part in names(i, piece))
        if not chosen:
            raise ValueError(f"geometry.boundary: part {part!r} is unknown{nearest(part, self.parts)}")
        return chosen

    def interior(self, design: Design = "sobol") -> Sampler:
        """A sampler of the domain: ``(key, n) -> (n, d)``, uniform by volume.

        Args:
            design: as in ``kd.box``.

        Raises:
            ValueError: the domain is empty.
        """
        return interior_sampler(self, (), design)

    def boundary(
        self,
        part: str | None = None,
        *,
        where: Predicate | None = None,
        normals: bool = False,
        design: Design = "sobol",
    ) -> Sampler:
        """A sampler of the boundary: ``(key, n) -> (n, d)``, uniform by length or area.

        Args:
            part: the name of a shape or of a side of one, from ``parts``; default the whole boundary.
            where: z (d,) -> one bool, in JAX: restricts the boundary to some points.
            normals: whether the outward unit normal follows the coordinates, (n, 2 d), as ``kd.neumann`` requires.
            design: as in ``kd.box``.

        Raises:
            ValueError: the part is unknown, or no part of the boundary remains.
        """
        return boundary_sampler(self, (), part, where, normals, design)

    def over(self, start: float, end: float) -> "SpaceTime":
        """The domain over an interval of time, which becomes the first coordinate."""
        if not float(start) < float(end):
            raise ValueError(f"geometry.over: start={start} must be less than end={end}")
        return SpaceTime(self, float(start), float(end))


@dataclass(frozen=True)
class SpaceTime:
    """A domain over an interval of time: the points (t, x) with start ≤ t ≤ end and x in the domain.

    Attributes:
        space: the domain.
        start: in units of time.
        end: in units of time.
    """

    space: Domain
    start: float
    end: float

    @property
    def lower(self) -> tuple[float, ...]:
        """The lower corner of a box that contains it, time first."""
        return (self.start, *self.space.lower)

    @property
    def upper(self) -> tuple[float, ...]:
        """The upper corner of a box that contains it, time first."""
        return (self.end, *self.space.upper)

    def __call__(self, z: Float[Array, " d"]) -> Bool[Array, ""]:
        """Whether a point (t, x) belongs to it; the time is not examined."""
        return self.space(z[1:])

    def level(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """As ``Domain.level``, at a point (t, x)."""
        return self.space.level(z[1:])

    def interior(self, design: Design = "sobol") -> Sampler:
        """A sampler of all times and places: ``(key, n) -> (n, 1 + d)``. See ``Domain.interior``."""
        return interior_sampler(self.space, (self.start, self.end), design)

    def initial(self, design: Design = "sobol") -> Sampler:
        """A sampler of the domain at the initial time: ``(key, n) -> (n, 1 + d)``."""
        return interior_sampler(self.space, (self.start, self.start), design)

    def boundary(
        self,
        part: str | None = None,
        *,
        where: Predicate | None = None,
        normals: bool = False,
        design: Design = "sobol",
    ) -> Sampler:
        """A sampler of the boundary in space at all times: ``(key, n) -> (n, 1 + d)``. See ``Domain.boundary``.

        ``where`` is a function of (t, x). The component of a normal along the axis of time is 0.
        """
        return boundary_sampler(self.space, (self.start, self.end), part, where, normals, design)


def of_shape(shape: Shape, name: str) -> Domain:
    """The domain of one shape."""
    return Domain((Leaf(shape, name),))
