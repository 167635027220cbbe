"""The problems shipped with the library, by name. A new one is a file in this folder and a line here."""

from ..pde.problem import Problem
from .allen_cahn import allen_cahn
from .black_scholes import black_scholes
from .burgers import burgers
from .fitzhugh_nagumo import fitzhugh_nagumo
from .kuramoto_sivashinsky import kuramoto_sivashinsky
from .lid_driven_cavity import lid_driven_cavity
from .taylor_green import taylor_green

#: ``{name: Problem}``; the tests run over all of them.
ALL: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        black_scholes,
        burgers,
        allen_cahn,
        taylor_green,
        lid_driven_cavity,
        fitzhugh_nagumo,
        kuramoto_sivashinsky,
    )
}
