"""A PDE as values: terms that sample points and give residuals, coefficients, and an exact solution to test against."""

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from ..base.types import Coefficients, Field
from .networks import MLP

Residual = Callable[[Field, Float[Array, " columns"], Coefficients], Float[Array, " k"]]
Conditions = Literal["soft", "hard"]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["sample", "residual"], meta_fields=["count"])
@dataclass(frozen=True, eq=False)
class Term:
    """One requirement on the solution: where it is asked, and by how much a field misses it.

    Attributes:
        sample: ``(key, n) -> (n, columns)``. The first d columns are coordinates; further ones may carry data
            (measured values, soft targets) to the residual.
        residual: ``(u, row, coefficients) -> (k,)`` at ONE row, zero where the requirement holds.
        count: how many points training draws.

    Both functions may be ``jax.tree_util.Partial`` with arrays bound to them: those arrays are then dynamic (another
    teacher or other data do not trace anew). A plain function is static.
    """

    sample: Callable[..., Array]
    residual: Callable[..., Array]
    count: int = 1024

    def __post_init__(self) -> None:
        # A Partial without arguments is a pytree whose only content, the function, is static.
        for name in ("sample", "residual"):
            function = getattr(self, name)
            if callable(function) and not isinstance(function, Partial):
                object.__setattr__(self, name, Partial(function))
        if self.count < 1:
            raise ValueError(f"Term: count={self.count} must be at least 1")


#: The range of a coefficient is wide where its ends differ by more than this factor: it is scaled and sampled by its
#: logarithm, so that each decade gets its share of the points and of the network's input.
WIDE = 3.0


def scale_to_unit(
    lower: Sequence[float], upper: Sequence[float], *, logarithmic: Collection[int] = ()
) -> Callable[[Float[Array, " d"]], Float[Array, " d"]]:
    """The default embedding: inputs mapped from [lower, upper] to [−1, 1], linearly or, on the axes ``logarithmic``,
    by their logarithm."""

    def embed(z: Float[Array, " d"]) -> Float[Array, " d"]:
        a, b = jnp.asarray(lower, z.dtype), jnp.asarray(upper, z.dtype)
        unit = (z - a) * (2 / (b - a)) - 1
        if not logarithmic:
            return unit
        by_logarithm = lambda i: jnp.log(z[i] / lower[i]) * (2 / math.log(upper[i] / lower[i])) - 1
        return jnp.stack([by_logarithm(i) if i in logarithmic else unit[i] for i in range(len(lower))])

    return embed


def periodic(
    lower: Sequence[float], upper: Sequence[float], axes: Sequence[int], harmonics: int = 1
) -> Callable[[Float[Array, " d"]], Float[Array, " e"]]:
    """An embedding exactly periodic along ``axes``: cos(jθ), sin(jθ) with θ = 2π(z − lower)/(upper − lower) and
    j = 1…harmonics; the other inputs are scaled to [−1, 1]."""
    scale = scale_to_unit(lower, upper)

    def embed(z: Float[Array, " d"]) -> Float[Array, " e"]:
        unit = scale(z)
        parts = []
        for axis in range(len(lower)):
            if axis in axes:
                theta = jnp.pi * (unit[axis] + 1) * jnp.arange(1, harmonics + 1, dtype=z.dtype)
                parts += [jnp.cos(theta), jnp.sin(theta)]
            else:
                parts.append(unit[axis : axis + 1])
        return jnp.concatenate(parts)

    return embed


@dataclass(frozen=True, eq=False)
class Problem:
    """A partial differential equation with its conditions. Hashed by identity: a static argument of jit.

    Attributes:
        name: what files and the command line call it.
        axes: names of the d inputs, time first: ``("t", "x")``.
        fields: names of the m unknowns: ``("u",)``.
        lower, upper: the domain's corners, d numbers each.
        terms: ``{name: Term}``; every condition is a term, also those the ansatz satisfies.
        coefficients: the equation's numbers, dynamic.
        weights: the loss weight of each term; 1 where a name is missing.
        embed: z (d,) -> network inputs (e,); None scales to [−1, 1].
        ansatz: ``(net, z, coefficients) -> u`` (m,), where ``net`` is the network as a field of z: hard conditions.
            None takes the network's output as u.
        enforced: names of the terms the ansatz satisfies identically; training leaves them out.
        outputs: network outputs, if not m.
        reference: ``coefficients -> Field``, the exact or converged numerical solution, or None. It is evaluated in
            float64; where it does not go on outside the domain it gives NaN there.
        headline: the fields of the error quoted first, under its name: ``("velocity", ("u", "v"))``.
        teacher, student: the networks trained when the caller names none.
        family: the last of the axes, by name, where they are coefficients of the equation (``parametric`` sets it).
        bound: ``model -> ErrorEstimate`` by a theorem about this equation on this domain, for ``error_estimate``; None
            has it estimated. ``dataclasses.replace`` keeps it: with another equation, replace it too.
    """

    name: str
    axes: tuple[str, ...]
    fields: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    terms: Mapping[str, Term]
    coefficients: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    embed: Callable[[Array], Array] | None = None
    ansatz: Callable[[Field, Array, Any], Array] | None = None
    enforced: tuple[str, ...] = ()
    outputs: int | None = None
    reference: Callable[[Mapping[str, float]], Field] | None = None
    headline: tuple[str, tuple[str, ...]] | None = None
    teacher: MLP = MLP((50, 50, 50))
    student: MLP = MLP((20, 20, 20))
    family: tuple[str, ...] = ()
    bound: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        d = len(self.axes)
        if len(self.lower) != d or len(self.upper) != d:
            raise ValueError(
                f"Problem {self.name!r}: lower and upper need one number for each of the axes {self.axes}; "
                f"got {len(self.lower)} and {len(self.upper)}"
            )
        if any(not a < b for a, b in zip(self.lower, self.upper, strict=True)):
            raise ValueError(
                f"Problem {self.name!r}: lower={self.lower} must lie below upper={self.upper} on every axis"
            )
        for what, names in (("enforced", self.enforced), ("weights", tuple(self.weights))):
            if unknown := set(names) - set(self.terms):
                raise ValueError(
                    f"Problem {self.name!r}: {what} names {sorted(unknown)}, which are not among its terms"
                )

    @property
    def conditions(self) -> Conditions:
        """``"hard"`` where the ansatz satisfies conditions identically, ``"soft"`` where all are terms of the loss."""
        return "hard" if self.enforced else "soft"

    @property
    def coordinates(self) -> int:
        """How many of the axes are time and space: those in front of ``family``."""
        return len(self.axes) - len(self.family)

    @property
    def logarithmic(self) -> tuple[int, ...]:
        """The axes scaled and sampled by their logarithm: coefficients over more than a factor of three."""
        return tuple(i for i in range(self.coordinates, len(self.axes)) if 0 < WIDE * self.lower[i] < self.upper[i])

    @property
    def embedding(self) -> Callable[[Array], Array]:
        """``embed``, or the default."""
        return self.embed or scale_to_unit(self.lower, self.upper, logarithmic=self.logarithmic)


@functools.cache
def with_conditions(problem: Problem, conditions: Conditions) -> Problem:
    """The problem with soft or hard conditions; the same object for the same arguments, so that jit traces it once.

    ``"soft"`` drops the ansatz and the embedding: the plain form, every condition a term of the loss.

    Raises:
        ValueError: hard conditions are asked of a problem that has no ansatz, or another word came.
    """
    if conditions not in ("soft", "hard"):
        raise ValueError(f"conditions={conditions!r} is unknown; use 'soft' or 'hard'")
    if problem.conditions == conditions:
        return problem
    if conditions == "hard":
        raise ValueError(f"problem {problem.name!r} has no ansatz for hard conditions; use conditions='soft'")
    return replace(problem, embed=None, ansatz=None, enforced=(), outputs=None)
