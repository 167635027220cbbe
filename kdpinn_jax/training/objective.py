"""The weighted nonlinear least-squares problem that teacher and student are trained on.

    L(θ) = Σ_term w_term · (1/n) Σᵢ |r_term(u_θ, zᵢ)|²

``Objective`` states the problem; ``residuals`` evaluates it.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from ..base.fork import check_not_forked
from ..base.names import nearest
from ..base.types import is_traced
from ..pde.checks import check_problem, check_term
from ..pde.networks import MLP
from ..pde.problem import Problem, Term

#: The columns of a history that are not terms.
_RESERVED = {"loss", "step", "seconds", "relative_l2", "role", "stage"}


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["terms", "weights", "coefficients"],
    meta_fields=["problem", "network", "mesh"],
)
@dataclass(frozen=True, eq=False)
class Objective:
    """Terms with weights, for one problem and one network. A pytree.

    Attributes:
        problem: supplies the embedding and the ansatz; static.
        network: the architecture; static.
        terms: the terms of the loss: the problem's terms and additional ones (soft targets).
        weights: one number per term, dynamic; a weight of 0 switches its term off.
        coefficients: the coefficients of the equation, dynamic.
        mesh: the devices that share the points, or None; static.
    """

    problem: Problem
    network: MLP
    terms: dict[str, Term]
    weights: dict[str, ArrayLike]
    coefficients: dict[str, ArrayLike]
    mesh: Mesh | None = None


def objective(
    problem: Problem,
    network: MLP | None = None,
    *,
    terms: Mapping[str, Term] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    coefficients: Mapping[str, ArrayLike] | None = None,
) -> Objective:
    """The objective of a problem. The caller's terms, weights and coefficients override the problem's.

    Args:
        problem: the PDE; the terms that its ansatz enforces are left out.
        network: default the problem's teacher network. The number of outputs is taken from the problem.
        terms: terms that are added to the problem's, or replace those of the same name.
        weights: those that differ from the problem's.
        coefficients: those that differ from the problem's.

    Raises:
        ValueError: a weight or coefficient is unknown or not finite, a weight is negative, the name of a term is
            reserved by the history, or a function of the problem or a term does not return what it should
            (``check_problem``).
        RuntimeError: this process was forked from one in which JAX has run.
    """
    check_not_forked()
    network = network or problem.teacher
    if not isinstance(network, MLP):
        raise ValueError(f"network={network!r} must be a network, such as kd.MLP((20, 20, 20))")
    network = network.clone(outputs=problem.outputs or len(problem.fields))
    active = {name: term for name, term in problem.terms.items() if name not in problem.enforced}
    check_problem(problem)
    for name, term in (terms or {}).items():
        active[name] = term.for_fields(problem.fields)
        check_term(problem, name, active[name])
    if reserved := _RESERVED & set(active):
        raise ValueError(f"terms {sorted(reserved)}: the training history reserves these names; rename the terms")
    defaults = dict.fromkeys(active, 1.0) | {k: v for k, v in problem.weights.items() if k in active}
    for name, value in (weights or {}).items():
        if not is_traced(value) and not np.all(np.asarray(value) >= 0):
            raise ValueError(f"weight {name}={value} must not be negative or NaN")
    return Objective(
        problem,
        network,
        active,
        defaults | _checked("weight", weights, active, problem),
        dict(problem.coefficients) | _checked("coefficient", coefficients, problem.coefficients, problem),
    )


def _checked(
    kind: str, overrides: Mapping[str, ArrayLike] | None, known: Iterable[str], problem: Problem
) -> dict[str, ArrayLike]:
    """The caller's numbers, with scalars as Python floats, so that their type never causes another trace."""
    checked: dict[str, ArrayLike] = {}
    for name, value in (overrides or {}).items():
        if name not in known:
            reason = " (its ansatz satisfies it identically)" if name in problem.enforced else ""
            raise ValueError(f"{kind} {name!r} is unknown to problem {problem.name!r}{reason}{nearest(name, known)}")
        if is_traced(value):
            checked[name] = value
            continue
        number = np.asarray(value)
        if not np.isfinite(number).all():
            raise ValueError(f"{kind} {name}={value} must be finite")
        checked[name] = value if number.ndim else float(number)
    return checked


def only(objective: Objective, *names: str) -> Objective:
    """The objective restricted to the named terms, with unchanged weights."""
    return replace(
        objective,
        terms={name: objective.terms[name] for name in names},
        weights={name: objective.weights[name] for name in names},
    )
