"""The shapes of which domains consist: boxes, balls, ellipses and cylinders, with exact boundaries and normals.

Every shape has the same attributes. Polygons have a module of their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

#: The number of intervals in which the arc length of an ellipse is tabulated; linear interpolation is good to 1e-7.
_ARCS = 4096


class Piece(NamedTuple):
    """A piece of the boundary of a shape.

    Attributes:
        name: of the piece within the shape, such as ``"left"``; empty if it has none.
        area: its length or area, the number of points in one dimension.
        inputs: the number of coordinates that ``place`` needs.
        place: v (inputs,) in the unit cube -> (z, n): a point, uniform by area if v is uniform, and the outward unit
            normal there.
    """

    name: str
    area: float
    inputs: int
    place: Callable[[Float[Array, " inputs"]], tuple[Float[Array, " d"], Float[Array, " d"]]]


@runtime_checkable
class Shape(Protocol):
    """What a shape has. It is a value, which can be compared, hashed, copied and pickled."""

    @property
    def lower(self) -> tuple[float, ...]:
        """The lower corner of its bounding box."""
        ...

    @property
    def upper(self) -> tuple[float, ...]:
        """The upper corner of its bounding box."""
        ...

    @property
    def inputs(self) -> int:
        """The number of coordinates that ``place`` needs."""
        ...

    def level(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """Negative inside, zero on the boundary, and close to the distance from it nearby."""
        ...

    def place(self, v: Float[Array, " inputs"]) -> Float[Array, " d"]:
        """A point inside, uniform if v is uniform in the unit cube."""
        ...

    def pieces(self) -> tuple[Piece, ...]:
        """The pieces of the boundary."""
        ...


#: The names of the sides of a box of one to three dimensions: at the lower and upper end of every axis.
_SIDES = {
    1: ("left", "right"),
    2: ("left", "right", "bottom", "top"),
    3: ("left", "right", "front", "back", "bottom", "top"),
}


@dataclass(frozen=True)
class Hyperrectangle:
    """The points between two corners."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @property
    def inputs(self) -> int:
        return len(self.lower)

    def level(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        lower, upper = jnp.asarray(self.lower, z.dtype), jnp.asarray(self.upper, z.dtype)
        return jnp.max(jnp.maximum(lower - z, z - upper))

    def place(self, v: Float[Array, " d"]) -> Float[Array, " d"]:
        lower, upper = jnp.asarray(self.lower, v.dtype), jnp.asarray(self.upper, v.dtype)
        return lower + (upper - lower) * v

    def pieces(self) -> tuple[Piece, ...]:
        d = len(self.lower)
        extent = np.subtract(self.upper, self.lower)
        names = _SIDES.get(d) or tuple(f"{end}{axis}" for axis in range(d) for end in ("lower", "upper"))
        return tuple(
            Piece(names[2 * axis + end], float(np.prod(np.delete(extent, axis))), d - 1, self._side(axis, end))
            for axis in range(d)
            for end in (0, 1)
        )

    def _side(self, axis: int, end: int) -> Callable[[Array], tuple[Array, Array]]:
        corner, normal = (self.lower, self.upper)[end][axis], np.zeros(len(self.lower))
        normal[axis] = 2 * end - 1

        def place(v: Float[Array, " inputs"]) -> tuple[Array, Array]:
            z = self.place(jnp.insert(v, axis, 0.0))
            return z.at[axis].set(corner), jnp.asarray(normal, v.dtype)

        return place


@dataclass(frozen=True)
class Ball:
    """The points up to a distance from a centre, in two or more dimensions."""

    centre: tuple[float, ...]
    radius: float

    @property
    def lower(self) -> tuple[float, ...]:
        return tuple(c - self.radius for c in self.centre)

    @property
    def upper(self) -> tuple[float, ...]:
        return tuple(c + self.radius for c in self.centre)

    @property
    def inputs(self) -> int:
        return _direction_inputs(len(self.centre)) + 1

    def level(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        square = jnp.sum((z - jnp.asarray(self.centre, z.dtype)) ** 2)
        return (square - self.radius**2) / (2 * self.radius)

    def place(self, v: Float[Array, " inputs"]) -> Float[Array, " d"]:
        d = len(self.centre)
        return self._at(self.radius * v[0] ** (1 / d), _direction(v[1:], d))

    def pieces(self) -> tuple[Piece, ...]:
        d = len(self.centre)
        area = 2 * math.pi ** (d / 2) / math.gamma(d / 2) * self.radius ** (d - 1)

        def place(v: Float[Array, " inputs"]) -> tuple[Array, Array]:
            normal = _direction(v, d)
            return self._at(self.radius, normal), normal

        return (Piece("", area, _direction_inputs(d), place),)

    def _at(self, distance: float | Array, direction: Float[Array, " d"]) -> Float[Array, " d"]:
        return jnp.asarray(self.centre, direction.dtype) + distance * direction


def _direction_inputs(d: int) -> int:
    return d if d > 3 else d - 1


def _direction(v: Float[Array, " inputs"], d: int) -> Float[Array, " d"]:
    """A unit vector, uniform on the sphere: by angles, or as the direction of a Gaussian vector."""
    if d == 2:
        return _on_circle(v[0])
    if d == 3:
        height = 1 - 2 * v[1]
        return jnp.append(jnp.sqrt(jnp.maximum(1 - height**2, 0)) * _on_circle(v[0]), height)
    eps = jnp.finfo(v.dtype).eps
    gaussian = jax.scipy.special.ndtri(jnp.clip(v, eps, 1 - eps))
    return gaussian / jnp.linalg.norm(gaussian)


def _on_circle(turn: Float[Array, ""]) -> Float[Array, "2"]:
    return jnp.stack([jnp.cos(2 * jnp.pi * turn), jnp.sin(2 * jnp.pi * turn)])


@dataclass(frozen=True)
class Ellipse:
    """An ellipse whose axes are parallel to the coordinate axes."""

    centre: tuple[float, float]
    semiaxes: tuple[float, float]

    @property
    def lower(self) -> tuple[float, ...]:
        return tuple(np.subtract(self.centre, self.semiaxes).tolist())

    @property
    def upper(self) -> tuple[float, ...]:
        return tuple(np.add(self.centre, self.semiaxes).tolist())

    @property
    def inputs(self) -> int:
        return 2

    def level(self, z: Float[Array, "2"]) -> Float[Array, ""]:
        centre, semiaxes = jnp.asarray(self.centre, z.dtype), jnp.asarray(self.semiaxes, z.dtype)
        scaled = (z - centre) / semiaxes
        # Divided by its gradient, it is the distance to first order; the constant keeps the centre finite.
        slope = jnp.sqrt(jnp.sum((scaled / semiaxes) ** 2) + 1e-4 / max(self.semiaxes) ** 2)
        return (jnp.sum(scaled**2) - 1) / (2 * slope)

    def place(self, v: Float[Array, "2"]) -> Float[Array, "2"]:
        return self._at(jnp.sqrt(v[0]) * _on_circle(v[1]))

    def pieces(self) -> tuple[Piece, ...]:
        from scipy.special import ellipeinc  # it takes a tenth of a second to import

        a, b = self.semiaxes
        turns = np.linspace(0, 1, _ARCS + 1)
        lengths = b * ellipeinc(2 * np.pi * turns, 1 - (a / b) ** 2)

        def place(v: Float[Array, "1"]) -> tuple[Array, Array]:
            share = jnp.asarray(lengths / lengths[-1], v.dtype)
            unit = _on_circle(jnp.interp(v[0], share, jnp.asarray(turns, v.dtype)))
            normal = unit / jnp.asarray(self.semiaxes, v.dtype)
            return self._at(unit), normal / jnp.linalg.norm(normal)

        return (Piece("", float(lengths[-1]), 1, place),)

    def _at(self, unit: Float[Array, "2"]) -> Float[Array, "2"]:
        return jnp.asarray(self.centre, unit.dtype) + jnp.asarray(self.semiaxes, unit.dtype) * unit


@dataclass(frozen=True)
class Cylinder:
    """A circular cylinder parallel to the third axis, from ``base``, the centre of its lower end."""

    base: tuple[float, float, float]
    radius: float
    height: float

    @property
    def lower(self) -> tuple[float, ...]:
        return (*(c - self.radius for c in self.base[:2]), self.base[2])

    @property
    def upper(self) -> tuple[float, ...]:
        return (*(c + self.radius for c in self.base[:2]), self.base[2] + self.height)

    @property
    def inputs(self) -> int:
        return 3

    @property
    def _disc(self) -> Ball:
        return Ball(self.base[:2], self.radius)

    def level(self, z: Float[Array, "3"]) -> Float[Array, ""]:
        return jnp.maximum(self._disc.level(z[:2]), jnp.maximum(self.base[2] - z[2], z[2] - self.upper[2]))

    def place(self, v: Float[Array, "3"]) -> Float[Array, "3"]:
        return jnp.append(self._disc.place(v[:2]), self.base[2] + self.height * v[2])

    def pieces(self) -> tuple[Piece, ...]:
        def side(v: Float[Array, "2"]) -> tuple[Array, Array]:
            normal = _on_circle(v[0])
            return jnp.append(self._disc._at(self.radius, normal), self.base[2] + self.height * v[1]), jnp.append(
                normal, 0.0
            )

        def end(level: float, normal: tuple[float, float, float]) -> Callable[[Array], tuple[Array, Array]]:
            return lambda v: (jnp.append(self._disc.place(v), level), jnp.asarray(normal, v.dtype))

        around, across = 2 * math.pi * self.radius * self.height, math.pi * self.radius**2
        return (
            Piece("side", around, 2, side),
            Piece("bottom", across, 2, end(self.lower[2], (0.0, 0.0, -1.0))),
            Piece("top", across, 2, end(self.upper[2], (0.0, 0.0, 1.0))),
        )


def choose(v: Float[Array, ""], shares: Float[Array, " n"]) -> tuple[Array, Array]:
    """One of n parts, with a probability that is its share, and what is left of v, uniform in [0, 1].

    Args:
        v: uniform in [0, 1].
        shares: cumulative, up to 1.
    """
    index = jnp.minimum(jnp.searchsorted(shares, v, side="right"), len(shares) - 1)
    start = jnp.where(index > 0, shares[index - 1], 0.0)
    return index, jnp.clip((v - start) / (shares[index] - start), 0.0, 1.0)
