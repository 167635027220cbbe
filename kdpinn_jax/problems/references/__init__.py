"""Exact and converged numerical solutions of the problems, one file per problem."""

from ...base.types import Reference
from . import (
    allen_cahn,
    black_scholes,
    burgers,
    fitzhugh_nagumo,
    kuramoto_sivashinsky,
    lid_driven_cavity,
    taylor_green,
)

#: The references by problem name.
REFERENCES: dict[str, Reference] = {
    "black_scholes": black_scholes.black_scholes,
    "burgers": burgers.burgers,
    "allen_cahn": allen_cahn.allen_cahn,
    "taylor_green": taylor_green.taylor_green,
    "lid_driven_cavity": lid_driven_cavity.lid_driven_cavity,
    "fitzhugh_nagumo": fitzhugh_nagumo.fitzhugh_nagumo,
    "kuramoto_sivashinsky": kuramoto_sivashinsky.kuramoto_sivashinsky,
}
