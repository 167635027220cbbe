"""The problems shipped with the library, by name.

Each is defined in one file. Its reference solution and its error bound import that definition, and are added here.
"""

from dataclasses import replace

from ..base.names import nearest
from ..pde.problem import Problem
from .allen_cahn import allen_cahn
from .black_scholes import black_scholes
from .bounds import BOUNDS
from .burgers import burgers
from .fitzhugh_nagumo import fitzhugh_nagumo
from .kuramoto_sivashinsky import kuramoto_sivashinsky
from .lid_driven_cavity import lid_driven_cavity
from .references import REFERENCES
from .taylor_green import taylor_green


class ShippedProblems(dict[str, Problem]):
    """Problems by name. The message of the KeyError for another name suggests one."""

    def __missing__(self, name: object) -> Problem:
        raise KeyError(f"problem {name!r} is unknown{nearest(str(name), self)}")


#: ``{name: Problem}``; the tests run over all of them.
ALL = ShippedProblems(
    (problem.name, replace(problem, reference=REFERENCES.get(problem.name), bound=BOUNDS.get(problem.name)))
    for problem in (
        black_scholes,
        burgers,
        allen_cahn,
        taylor_green,
        lid_driven_cavity,
        fitzhugh_nagumo,
        kuramoto_sivashinsky,
    )
)
