"""Polygons with holes, from their corners."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ...base.optional import optional_package
from .shapes import Piece, choose

#: (n, 2): corners in their order, as the user gives them.
Corners = ArrayLike | Sequence[Sequence[float]]
#: The corners of a closed curve; the last one is joined to the first.
Ring = tuple[tuple[float, float], ...]


def checked_rings(corners: Corners, holes: Sequence[Corners]) -> tuple[Ring, ...]:
    """The outer ring, counter-clockwise, and the holes, clockwise, of a valid polygon.

    Args:
        corners: (n, 2), the corners of the outer ring in their order.
        holes: the same for every hole.

    Raises:
        ValueError: a ring has fewer than three corners or is not finite, crosses itself or another one, or a hole lies
            outside.
        ImportError: shapely is not installed.
    """
    shapely = optional_package("shapely", "geometry.polygon")
    rings = []
    for what, ring in (("corners", corners), *((f"holes[{i}]", hole) for i, hole in enumerate(holes))):
        points = np.asarray(ring, float)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
            raise ValueError(
                f"geometry.polygon: {what} has shape {points.shape}; expected (n, 2), at least three finite corners"
            )
        rings.append(points)
    polygon = shapely.Polygon(rings[0], rings[1:])
    if not polygon.is_valid:
        reason = shapely.is_valid_reason(polygon).replace("[", " near (").replace("]", ")")
        raise ValueError(
            f"geometry.polygon: {reason}; give the corners in their order around the polygon, and holes that lie "
            "inside it without touching each other along an edge"
        )
    polygon = shapely.geometry.polygon.orient(polygon)
    return tuple(
        tuple((float(x), float(y)) for x, y in ring.coords[:-1]) for ring in (polygon.exterior, *polygon.interiors)
    )


@dataclass(frozen=True)
class Polygon:
    """The points inside an outer ring, which runs counter-clockwise, and outside the holes, which run clockwise."""

    rings: tuple[Ring, ...]

    @property
    def lower(self) -> tuple[float, ...]:
        return tuple(np.min(self.rings[0], axis=0).tolist())

    @property
    def upper(self) -> tuple[float, ...]:
        return tuple(np.max(self.rings[0], axis=0).tolist())

    @property
    def inputs(self) -> int:
        return 2

    @functools.cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of all edges, (e, 2) each; the polygon lies to the left of every edge."""
        starts = [np.array(ring) for ring in self.rings]
        return np.concatenate(starts), np.concatenate([np.roll(ring, -1, axis=0) for ring in starts])

    @functools.cached_property
    def _triangles(self) -> tuple[np.ndarray, np.ndarray]:
        """The corners (t, 3, 2) of triangles that fill the polygon, and the cumulative shares (t,) of their areas."""
        shapely = optional_package("shapely", "geometry.polygon")
        parts = shapely.constrained_delaunay_triangles(shapely.Polygon(self.rings[0], self.rings[1:])).geoms
        corners = np.array([np.array(part.exterior.coords[:3]) for part in parts])
        (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
        areas = np.abs(ax * by - ay * bx)
        return corners, np.cumsum(areas) / areas.sum()

    def level(self, z: Float[Array, "2"]) -> Float[Array, ""]:
        start, end = (jnp.asarray(ends, z.dtype) for ends in self._edges)
        edge, to_z = end - start, z[None] - start
        along = jnp.clip(jnp.sum(to_z * edge, axis=1) / jnp.sum(edge**2, axis=1), 0.0, 1.0)
        square = jnp.min(jnp.sum((to_z - along[:, None] * edge) ** 2, axis=1))
        # A ray to the right crosses the edges an odd number of times if the point is inside.
        across = (start[:, 1] > z[1]) != (end[:, 1] > z[1])
        left = (edge[:, 0] * to_z[:, 1] - edge[:, 1] * to_z[:, 0] > 0) == (edge[:, 1] > 0)
        inside = jnp.sum(across & left) % 2 == 1
        return jnp.where(inside, -1.0, 1.0) * jnp.sqrt(square)

    def place(self, v: Float[Array, "2"]) -> Float[Array, "2"]:
        corners, shares = (jnp.asarray(array, v.dtype) for array in self._triangles)
        index, rest = choose(v[0], shares)
        root = jnp.sqrt(rest)
        return jnp.stack([1 - root, root * (1 - v[1]), root * v[1]]) @ corners[index]

    def pieces(self) -> tuple[Piece, ...]:
        start, end = self._edges
        length = np.linalg.norm(end - start, axis=1)
        normal = (end - start)[:, ::-1] * np.array([1.0, -1.0]) / length[:, None]
        shares = np.cumsum(length) / length.sum()

        def place(v: Float[Array, "1"]) -> tuple[Array, Array]:
            index, rest = choose(v[0], jnp.asarray(shares, v.dtype))
            a, b = (jnp.asarray(ends, v.dtype)[index] for ends in (start, end))
            return a + rest * (b - a), jnp.asarray(normal, v.dtype)[index]

        return (Piece("", float(length.sum()), 1, place),)
