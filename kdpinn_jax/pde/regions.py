"""Where the domain of a problem is, and what a term is, judged by its rows: an equation, a condition, or data."""

import functools
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..base.types import Sampler
from .geometry import Domain, SpaceTime
from .inside import at_points, restrict
from .problem import Problem
from .sampling import MOST_SOBOL_AXES, box

#: ``"equation"`` fills a part of the domain, ``"condition"`` holds on a face of it, on its boundary or on an interface,
#: and the rows of ``"data"`` carry values.
Kind = Literal["equation", "condition", "data"]
#: The distance of a point from a face, relative to the extent of the domain, that is rounding.
_ROUNDING = 1e-6
#: The error of the length of a normal that is rounding.
_UNIT = 1e-5


def term_kind(problem: Problem, rows: Float[np.ndarray, "n columns"]) -> Kind:
    """The kind of a term.

    Args:
        problem: supplies the domain.
        rows: of the term.
    """
    d = len(problem.axes)
    if rows.shape[1] == 2 * d and np.all(np.abs(np.linalg.norm(rows[:, d:], axis=1) - 1) < _UNIT):
        return "condition"  # with normals
    if rows.shape[1] > d:
        return "data"
    lower, upper = np.asarray(problem.lower), np.asarray(problem.upper)
    near = _ROUNDING * (upper - lower)
    on_boundary = ((np.abs(rows - lower) <= near) | (np.abs(rows - upper) <= near)).any(axis=1)
    if isinstance(problem.inside, Domain | SpaceTime):
        on_boundary |= np.abs(at_points(problem.inside.level, rows[:, : problem.coordinates])) <= 10 * np.max(near)
    in_one_plane = np.any(np.ptp(rows, axis=0) <= near)
    return "condition" if np.all(on_boundary) or in_one_plane else "equation"


@functools.lru_cache(maxsize=32)
def domain_sampler(problem: Problem) -> Sampler:
    """The sampler of the whole domain: its box, restricted to ``problem.inside``.

    Args:
        problem: supplies the domain, including the ranges of the coefficients of a family.
    """
    design = "sobol" if len(problem.axes) <= MOST_SOBOL_AXES else "latin_hypercube"
    whole = box(problem.lower, problem.upper, design, logarithmic=problem.logarithmic)
    return whole if problem.inside is None else restrict(whole, problem.inside, coordinates=problem.coordinates)
