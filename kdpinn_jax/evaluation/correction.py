"""An estimate of a model's error for any problem: how far the model moves when a second network corrects it."""

import functools
import math
from collections.abc import Hashable
from dataclasses import replace
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from ..base.types import Params
from ..models.model import Model, init_params, network_field
from ..pde.networks import MLP
from ..pde.problem import Problem
from ..training.distill import ADAPTIVE
from ..training.fit import fit
from ..training.objective import Objective
from ..training.resampling import Sampling
from ..training.residuals import mean_square_at
from ..training.stages import LevenbergMarquardt
from .estimates import ErrorEstimate, Norm
from .norms import as_estimate, at_points, field_value, pointwise_error, scalar_coefficients

#: Levenberg–Marquardt steps of the correction, and its points: half of those a training draws.
STEPS = 100
SAMPLING = replace(ADAPTIVE, share=0.5)
EVEN = Sampling(every=10, share=0.5)
#: The correction's network: a model's error oscillates more than the solution, so it is no smaller than a student.
NETWORK = MLP((20, 20, 20))
#: The largest β. A correction of a good model often leaves the residual's fine oscillations, √(loss) 0.74 to 1.2 of
#: what it was, and 1/(1 − β) is then any number, though the distance may be right: 0.8 to 1.7 times the error
#: (black_scholes and burgers, hard conditions, three layers of 16, 60 to 150 steps). It need not be: 0.04 of it in
#: allen_cahn, where the estimate is a twelfth of the error. ``estimate`` says when this limit was in force.
LARGEST_RATIO = 0.5


def _space_and_time(problem: Problem) -> np.ndarray:
    """The centres of equal cells in all axes, as one time: (1, n, d)."""
    per_axis = {1: 500, 2: 100, 3: 32}.get(len(problem.axes), 10)
    cells = (np.arange(per_axis) + 0.5) / per_axis
    axes = [a + (b - a) * cells for a, b in zip(problem.lower, problem.upper, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, len(axes))


NORM = Norm(
    "root mean square of |e| over the domain",
    samples=_space_and_time,
    size=lambda e: float(np.sqrt(np.mean(e**2))),
)


def estimate(model: Model, reason: str) -> ErrorEstimate:
    """About how large √(mean |û − u|²) is: the model is frozen, and a network N on top is trained on the same equation,

        ũ = ansatz(net_û + s N),   s so that s N misses the equation as much as û does,

    so that conditions the ansatz satisfies stay satisfied. If the correction leaves a share β < 1 of the error
    (saturation), ‖û − u‖ ≤ ‖û − ũ‖ + β ‖û − u‖ gives

        ‖û − u‖ ≤ ‖û − ũ‖ / (1 − β);   β is taken from the residuals: √(loss of ũ / loss of û) at points neither saw.

    Source: Bank & Weiser (1985) and Bank & Smith (1993) for hierarchical estimates and saturation.
    """
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.params)
        problem = _corrected(model.problem, cast(Hashable, model.network))
        network = NETWORK.clone(outputs=model.network.outputs)
        terms = {name: term for name, term in problem.terms.items() if name not in problem.enforced}
        weights: dict[str, ArrayLike] = {name: problem.weights.get(name, 1.0) for name in terms}
        known: dict[str, ArrayLike] = {**scalar_coefficients(model), "frozen": ravel_pytree(params)[0]}
        target = lambda scale: Objective(problem, network, terms, weights, known | {"scale": jnp.asarray(scale)})
        # A fixed key: the same model gets the same number every time.
        begin, fitting = jax.random.split(jax.random.key(0))
        small = init_params(problem, network, begin)
        before = _root_loss(target(0.0), small)
        if not math.isfinite(before):
            raise ValueError(f"error_estimate: the residual of this model of {problem.name!r} is not finite")
        # ‖r(û + s N)‖² − ‖r(û)‖² is about s² ‖L N‖², L the linear part of the equation at û.
        tried = 1.0
        while (after := _root_loss(target(tried), small)) > 2 * before and tried > 1e-14:
            tried *= before / after
        scaled, sampling = target(tried), SAMPLING if "residual" in terms else EVEN
        # It starts as nothing, its last layer zero: Levenberg–Marquardt does not climb, and begins where the model is.
        last = f"dense_{len(network.hidden)}"
        nothing = {**small, last: jax.tree.map(jnp.zeros_like, small[last])}
        fitted = fit(scaled, nothing, fitting, (LevenbergMarquardt(STEPS, sampling=sampling),), progress=False).params
        ratio = _root_loss(scaled, fitted) / before
    corrected = Model(problem, network, fitted, scaled.coefficients)
    z = NORM.samples(model.problem)
    distance = NORM.size(pointwise_error(corrected, z, at_points(model, field_value, z)))
    beta = min(ratio, LARGEST_RATIO)
    assumptions = [
        reason,
        f"the correction leaves no larger a share of the error than of the residual, {beta:.2g}",
    ]
    if ratio > LARGEST_RATIO:
        assumptions[-1] = (
            f"the correction leaves at most {beta:.2g} of the error, though it left {ratio:.2g} of the residual: "
            "the error may be ten times larger and more"
        )
    parts = {"distance to the corrected model": distance, "residual": before, "share left": ratio, "scale": tried}
    return as_estimate(model, NORM, distance / (1 - beta), "estimate", tuple(assumptions), parts)


@functools.cache
def _corrected(problem: Problem, network: MLP) -> Problem:
    """The problem whose network is the frozen one plus ``scale`` times a new one. Scale and frozen parameters are
    coefficients, so that the next model of the same shape is not traced anew."""
    shapes = jax.eval_shape(lambda key: init_params(problem, network, key), jax.random.key(0))
    unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))[1]
    bare = replace(problem, ansatz=None)

    def ansatz(net, z, c):
        frozen = network_field(bare, network, unravel(c["frozen"]), c)
        together = lambda z: frozen(z) + c["scale"] * net(z)
        return together(z) if problem.ansatz is None else problem.ansatz(together, z, c)

    return replace(problem, ansatz=ansatz, outputs=network.outputs, reference=None, bound=None)


def _root_loss(objective: Objective, params: Params) -> float:
    """√(Σ weight · mean square) at fixed points that no training draws."""
    total = 0.0
    for i, (name, term) in enumerate(objective.terms.items()):
        rows = term.sample(jax.random.fold_in(jax.random.key(1), i), term.count)
        square = mean_square_at(objective.problem, objective.network, term, params, objective.coefficients, rows)
        total += float(objective.weights[name] * square)
    return math.sqrt(total)
