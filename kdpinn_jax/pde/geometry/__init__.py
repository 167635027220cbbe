"""Domains: intervals, boxes, balls, ellipses, polygons and cylinders, and what set operations make of them.

    plate = geometry.rectangle((-1, -1), (1, 1)) - geometry.disc((0.5, 0.5), 0.2)
    terms = {
        "residual": kd.Term(plate.interior(), equation),
        "hole": kd.Term(plate.boundary("disc"), kd.dirichlet(1.0)),
        "edge": kd.Term(plate.boundary("rectangle", normals=True), kd.neumann(0.0)),
    }

``|``, ``-`` and ``&`` unite, subtract and intersect domains of the same number of dimensions. Points on curved
boundaries and their normals are exact. Every domain is a value, and ``domain.over(start, end)`` adds time as the first
coordinate.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..arguments import vector
from .domain import Domain as Domain
from .domain import SpaceTime as SpaceTime
from .domain import of_shape
from .polygon import Corners, Polygon, checked_rings
from .shapes import Ball, Cylinder, Ellipse, Hyperrectangle


def interval(left: float, right: float, *, name: str = "interval") -> Domain:
    """The interval [left, right], whose ends are the parts ``left`` and ``right`` of its boundary.

    Args:
        left: its lower end.
        right: its upper end.
        name: the name in ``boundary``.

    Raises:
        ValueError: left is not less than right.
    """
    return box((left,), (right,), name=name)


def rectangle(lower: Sequence[float], upper: Sequence[float], *, name: str = "rectangle") -> Domain:
    """The rectangle between two corners, with the sides ``left``, ``right``, ``bottom`` and ``top``.

    Args:
        lower: its lower left corner.
        upper: its upper right corner.
        name: the name in ``boundary``; a side is ``"rectangle.left"``.

    Raises:
        ValueError: lower is not below upper on both axes.
    """
    vector("geometry.rectangle: lower", lower, 2)
    return box(lower, upper, name=name)


def box(lower: Sequence[float], upper: Sequence[float], *, name: str = "box") -> Domain:
    """The box between two corners in any number of dimensions.

    Its sides are ``left``, ``right``, ``front``, ``back``, ``bottom`` and ``top`` in three dimensions, and ``lower0``,
    ``upper0``, ``lower1``, … in more than three.

    Args:
        lower: d numbers.
        upper: d numbers.
        name: the name in ``boundary``; a side is ``"box.left"``.

    Raises:
        ValueError: lower is not below upper on every axis.
    """
    a, b = vector("geometry.box: lower", lower), vector("geometry.box: upper", upper, len(lower))
    if not all(x < y for x, y in zip(a, b, strict=True)):
        raise ValueError(f"geometry.box: lower={a} must be less than upper={b} on every axis; swap the ends")
    return of_shape(Hyperrectangle(a, b), name)


def disc(centre: Sequence[float], radius: float, *, name: str = "disc") -> Domain:
    """The points up to a distance from a centre in the plane.

    Args:
        centre: two numbers.
        radius: positive.
        name: the name in ``boundary``.

    Raises:
        ValueError: the radius is not positive.
    """
    vector("geometry.disc: centre", centre, 2)
    return ball(centre, radius, name=name)


def ball(centre: Sequence[float], radius: float, *, name: str = "ball") -> Domain:
    """The points up to a distance from a centre in two or more dimensions.

    Args:
        centre: d numbers.
        radius: positive.
        name: the name in ``boundary``.

    Raises:
        ValueError: there are fewer than two dimensions, or the radius is not positive.
    """
    c = vector("geometry.ball: centre", centre)
    if len(c) < 2:
        raise ValueError(f"geometry.ball: centre={centre!r} must be two or more numbers; use interval on a line")
    return of_shape(Ball(c, _positive("ball", "radius", radius)), name)


def ellipse(centre: Sequence[float], semiaxes: Sequence[float], *, name: str = "ellipse") -> Domain:
    """The ellipse with axes parallel to the coordinate axes; ``rotated`` turns it.

    Args:
        centre: two numbers.
        semiaxes: half the extent along each axis, positive.
        name: the name in ``boundary``.

    Raises:
        ValueError: a semiaxis is not positive.
    """
    x, y = vector("geometry.ellipse: centre", centre, 2)
    a, b = (_positive("ellipse", "semiaxes", value) for value in vector("geometry.ellipse: semiaxes", semiaxes, 2))
    return of_shape(Ellipse((x, y), (a, b)), name)


def cylinder(base: Sequence[float], radius: float, height: float, *, name: str = "cylinder") -> Domain:
    """The cylinder parallel to the third axis, with the parts ``side``, ``bottom`` and ``top``.

    Args:
        base: the centre of its lower end, three numbers.
        radius: positive.
        height: positive.
        name: the name in ``boundary``; a part is ``"cylinder.side"``.

    Raises:
        ValueError: radius or height is not positive.
    """
    x, y, z = vector("geometry.cylinder: base", base, 3)
    shape = Cylinder((x, y, z), _positive("cylinder", "radius", radius), _positive("cylinder", "height", height))
    return of_shape(shape, name)


def polygon(corners: Corners, holes: Sequence[Corners] = (), *, name: str = "polygon") -> Domain:
    """The polygon with the given corners.

    Args:
        corners: (n, 2), in either order around the polygon; the last corner is joined to the first.
        holes: (n, 2) for each hole.
        name: the name in ``boundary``.

    Raises:
        ValueError: there are fewer than three corners, the polygon crosses itself, or a hole lies outside.
        ImportError: shapely, of the extra ``geometry``, is not installed.
    """
    return of_shape(Polygon(checked_rings(corners, holes)), name)


def _positive(function: str, what: str, value: float) -> float:
    if not (np.ndim(value) == 0 and math.isfinite(value) and value > 0):
        raise ValueError(f"geometry.{function}: {what}={value!r} must be a positive number")
    return float(value)
