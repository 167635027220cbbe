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

from ..base.types import Coefficients, Field, Params
from ..models.grids import domain_points
from ..models.model import Model, init_params, network_field
from ..pde.networks import MLP
from ..pde.problem import Problem
from ..training.fit import fit
from ..training.objective import Objective
from ..training.plan import ADAPTIVE
from ..training.resampling import Sampling
from ..training.residuals import mean_square_at
from ..training.review import jumps_of
from ..training.stages import LevenbergMarquardt
from .estimates import ErrorEstimate, Norm
from .judgement import judge
from .norms import (
    at_points,
    field_value,
    headline_columns,
    make_estimate,
    pointwise_error,
    scalar_coefficients,
)
from .stability import stability

#: Levenberg–Marquardt steps of the correction.
STEPS = 100
#: The correction draws half as many points as a training. Without a residual term they are not adaptive.
SAMPLING = replace(ADAPTIVE, share=0.5)
EVEN = Sampling(every=10, share=0.5)
#: The network of the correction. A model's error oscillates more than the solution, so it is as large as students.
NETWORK = MLP((20, 20, 20))
#: Cells per axis, by the number of axes, at whose centres the norm is taken.
CELLS = {1: 500, 2: 100, 3: 32}


def _samples(problem: Problem) -> np.ndarray:
    """The centres of equal cells, or the low-discrepancy points of more than three axes: (1, n, d)."""
    d = len(problem.axes)
    if d not in CELLS or problem.inside is not None:
        return domain_points(problem)[0][None]
    cells = (np.arange(CELLS[d]) + 0.5) / CELLS[d]
    axes = [a + (b - a) * cells for a, b in zip(problem.lower, problem.upper, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, d)


NORM = Norm(
    "root mean square of |e| over the domain",
    samples=_samples,
    size=lambda e: float(np.sqrt(np.mean(e**2))),
)


def estimate(model: Model, reason: str) -> ErrorEstimate:
    """An estimate of √(mean |û − u|²).

    The model is frozen, and a network N on top of it is trained on the same equation,

        ũ = ansatz(net_û + s N),   with s such that s N changes the residual by as much as the residual of û,

    so that conditions enforced by the ansatz remain satisfied. If the correction leaves a fraction β < 1 of the error
    (saturation), ‖û − u‖ ≤ ‖û − ũ‖ + β ‖û − u‖ gives

        ‖û − u‖ ≤ ‖û − ũ‖ / (1 − β).

    β is taken from the residuals, √(loss of ũ / loss of û), at points that neither was trained on. ``judge`` compares
    the distance with the error that the residual allows (``stability``), and returns no number if that is too large.

    Args:
        model: the model û.
        reason: why there is no bound; the first of the assumptions.

    Raises:
        ValueError: the residual of the model is not finite.

    Source: Bank & Weiser (1985) and Bank & Smith (1993) for hierarchical estimates and saturation.
    """
    jumps = jumps_of(model)
    if warnings := [jump.warning() for jump in jumps if jump.highest]:
        return make_estimate(model, NORM, math.nan, "unknown", (reason, *warnings), {})
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.params)
        # Pyright does not see that a Flax module is hashable.
        problem = _corrected_problem(model.problem, cast(Hashable, model.network))
        network = NETWORK.clone(outputs=model.network.outputs)
        terms = {name: term for name, term in problem.terms.items() if name not in problem.enforced}
        weights: dict[str, ArrayLike] = {name: problem.weights.get(name, 1.0) for name in terms}
        coefficients: dict[str, ArrayLike] = {**scalar_coefficients(model), "frozen": ravel_pytree(params)[0]}

        def objective(scale: float) -> Objective:
            return Objective(problem, network, terms, weights, coefficients | {"scale": jnp.asarray(scale)})

        # A fixed key gives the same model the same number every time.
        key_init, key_fit = jax.random.split(jax.random.key(0))
        initial = init_params(problem, network, key_init)
        before = _root_loss(objective(0.0), initial)
        if not math.isfinite(before):
            raise ValueError(f"error_estimate: the residual of this model of {problem.name!r} is not finite")
        # ‖r(û + s N)‖² − ‖r(û)‖² is about s² ‖L N‖², with L the linear part of the equation at û.
        scale = 1.0
        while (after := _root_loss(objective(scale), initial)) > 2 * before and scale > 1e-14:
            scale *= before / after
        scaled, sampling = objective(scale), SAMPLING if "residual" in terms else EVEN
        # With a zero last layer the correction starts at the model, and Levenberg–Marquardt never raises the loss.
        last = f"dense_{len(network.hidden)}"
        zero = {**initial, last: jax.tree.map(jnp.zeros_like, initial[last])}
        fitted = fit(scaled, zero, key_fit, (LevenbergMarquardt(STEPS, sampling=sampling),), progress=False).params
        ratio = _root_loss(scaled, fitted) / before
        z = NORM.samples(model.problem)
        constants = stability(objective(1.0), headline_columns(model.problem), z[0])
    corrected = Model(problem, network, fitted, scaled.coefficients)
    distance = NORM.size(pointwise_error(corrected, z, at_points(model, field_value, z)))
    size = NORM.size(pointwise_error(model, z))
    kind, value, sentence = judge(distance, before, ratio, constants, size)
    parts = {
        "distance to the corrected model": distance,
        "residual": before,
        "share left": ratio,
        "scale": scale,
        "error per residual": constants.constant,
    }
    continuous = [
        f"{jump.describe()}, where the next higher derivative but the highest must be continuous" for jump in jumps
    ]
    return make_estimate(model, NORM, value, kind, (reason, sentence, *continuous), parts)


@functools.lru_cache(maxsize=8)
def _corrected_problem(problem: Problem, network: MLP) -> Problem:
    """The problem whose network is the frozen one plus ``scale`` times a new one.

    The scale and the frozen parameters are coefficients, so that another model of the same shape is not traced again.
    """
    shapes = jax.eval_shape(lambda key: init_params(problem, network, key), jax.random.key(0))
    unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))[1]
    bare = replace(problem, ansatz=None)

    def ansatz(net: Field, z: jax.Array, c: Coefficients) -> jax.Array:
        frozen = network_field(bare, network, unravel(jnp.asarray(c["frozen"])), c)
        corrected = lambda z: frozen(z) + c["scale"] * net(z)
        return corrected(z) if problem.ansatz is None else problem.ansatz(corrected, z, c)

    return replace(problem, ansatz=ansatz, outputs=network.outputs, reference=None, bound=None)


def _root_loss(objective: Objective, params: Params) -> float:
    """√(Σ weight · mean square) at fixed points that no training draws."""
    total = 0.0
    for i, (name, term) in enumerate(objective.terms.items()):
        rows = term.sample(jax.random.fold_in(jax.random.key(1), i), term.count)
        square = mean_square_at(objective.problem, objective.network, term, params, objective.coefficients, rows)
        total += float(objective.weights[name] * square)
    return math.sqrt(total)
