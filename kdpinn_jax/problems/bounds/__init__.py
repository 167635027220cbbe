"""Bounds on the error of a model by theorems about the problems, one file per problem."""

from collections.abc import Callable

from ...evaluation.estimates import ErrorEstimate
from ...models.model import Model
from . import allen_cahn, black_scholes, burgers, taylor_green

#: The bounds by problem name.
BOUNDS: dict[str, Callable[[Model], ErrorEstimate]] = {
    "black_scholes": black_scholes.bound,
    "burgers": burgers.bound,
    "allen_cahn": allen_cahn.bound,
    "taylor_green": taylor_green.bound,
}
