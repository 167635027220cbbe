"""A check before training that equations are sampled inside the domain."""

import warnings

import jax
import numpy as np

from ..pde.inside import holds
from ..pde.regions import term_kind
from .objective import Objective
from .step import compiled_sample

#: The fraction of the points of an equation that may lie outside the domain: those next to its boundary.
FEW = 0.01


def warn_of_points_outside(objective: Objective, caller: str) -> None:
    """Warn of equations that are sampled outside ``problem.inside``, where they need not hold.

    Args:
        objective: the objective, before training.
        caller: the name of the function that is called, for the message.
    """
    problem = objective.problem
    if problem.inside is None:
        return
    for name, rows in compiled_sample(objective, jax.random.key(0)).rows.items():
        z = np.asarray(rows)
        outside = 1 - np.mean(holds(problem.inside, z[:, : problem.coordinates]))
        if outside > FEW and term_kind(problem, z) == "equation":
            warnings.warn(
                f"{caller}: {100 * outside:.0f} % of the points of term {name!r} lie outside the domain, where the "
                "solution need not satisfy it; sample the domain by domain.interior() of kd.geometry, or by "
                "kd.restrict(sampler, problem.inside)",
                RuntimeWarning,
                stacklevel=4,
            )
