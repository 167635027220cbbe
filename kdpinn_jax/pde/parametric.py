"""Parametric problems: coefficients become inputs, so that one network solves a family of equations."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Ansatz, Coefficients, Field, Reference, Residual, Sampler
from .embedding import Embedding, scale_to_unit
from .networks import MLP
from .problem import Problem, Term
from .reference_at import PointReference
from .sampling import box

#: The lowest and the highest value of a coefficient.
Range = tuple[float, float]
#: A family varies in more directions than its members. For each coefficient the student is wider, and each term has
#: more points, by these factors. A teacher has neurons to spare; a wider one would only take fewer steps in its time.
WIDTH_FACTOR, POINT_FACTOR = 1.2, 1.5
#: The least number of points of a term: a term with a single point, such as an initial value of an ordinary
#: differential equation, must be sampled along all coefficients.
MIN_POINTS = 64


def parametric(problem: Problem, **ranges: Range) -> Problem:
    """The problem with some of its coefficients as additional inputs, each over a range.

        parametric(burgers, nu=(0.005, 0.05))   has the axes (t, x, nu)

    A network is trained over the whole family at once, and its derivatives along the new axes are the sensitivities to
    the coefficients. A family is used like any other problem. The same arguments return the same object, so that jit
    traces it once. Source for networks of (t, x, μ): Sun, Gao, Pan & Wang (2020), sec. 2.

    Args:
        problem: any problem. Its embedding, ansatz, terms and reference are evaluated at each point's coefficients.
        ranges: (lowest, highest) value of each coefficient, in its units, in the order of the new axes. If the ends
            differ by more than a factor of three, the coefficient is sampled and scaled by its logarithm.

    Returns:
        A problem of the same name whose ``family`` names the new axes. Its ``student`` is wider. It has no ``bound``,
        and no ``reference`` if that of ``problem`` is a numerical solution of a single equation, which cannot depend on
        a coefficient that differs from point to point.

    Raises:
        ValueError: no range, an unknown coefficient, or a range that is not increasing and finite.
    """
    if not ranges:
        raise ValueError("parametric: no coefficient is named; give a range, such as nu=(0.005, 0.05)")
    checked = []
    for name, ends in ranges.items():
        if name not in problem.coefficients:
            raise ValueError(
                f"parametric: coefficient {name!r} is unknown to problem {problem.name!r}"
                f"{nearest(name, problem.coefficients)}"
            )
        try:
            low, high = map(float, ends)
        except (TypeError, ValueError):
            low = high = math.nan
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"parametric: {name}={ends} must be two finite numbers, the lower one first")
        checked.append((name, (low, high)))
    return _parametric(problem, tuple(checked))


@functools.lru_cache(maxsize=64)
def _parametric(problem: Problem, ranges: tuple[tuple[str, Range], ...]) -> Problem:
    names = tuple(name for name, _ in ranges)
    family = replace(
        problem,
        axes=(*problem.axes, *names),
        lower=(*problem.lower, *(low for _, (low, _) in ranges)),
        upper=(*problem.upper, *(high for _, (_, high) in ranges)),
        coefficients={name: value for name, value in problem.coefficients.items() if name not in names},
        family=(*problem.family, *names),
        student=_widen(problem.student, len(names)),
        bound=None,
    )
    new = _NewAxes(len(problem.axes), names)
    logarithmic = tuple(i - new.d for i in family.logarithmic if i >= new.d)
    lower, upper = family.lower[new.d :], family.upper[new.d :]
    draw = _CoefficientSampler(new.d, lower, upper, logarithmic)
    scale = scale_to_unit(lower, upper, logarithmic=logarithmic)
    own = None if isinstance(problem.reference, PointReference) else problem.reference  # points belong to one member
    reference = _FamilyReference(new, own) if own else None
    return replace(
        family,
        terms={name: _family_term(term, new, draw) for name, term in problem.terms.items()},
        embed=_FamilyEmbedding(new, problem.embed, scale) if problem.embed else None,
        ansatz=_FamilyAnsatz(new, problem.ansatz) if problem.ansatz else None,
        reference=reference if reference and _is_traceable(reference, family) else None,
    )


@dataclass(frozen=True)
class _NewAxes:
    """The axes of a family: the first d are those of its members, and coefficients with these names follow."""

    d: int
    names: tuple[str, ...]

    def coefficients(self, z: Float[Array, " _d"], c: Coefficients) -> dict[str, Any]:
        """All coefficients at a point: ``c`` and those that are inputs."""
        return dict(c) | {name: z[self.d + i] for i, name in enumerate(self.names)}

    def member(self, u: Field, z: Float[Array, " _d"]) -> Field:
        """A field of the family at the coefficients of z, as a field of the member's coordinates."""
        end = self.d + len(self.names)
        return lambda member_z: u(jnp.concatenate([member_z, z[self.d : end]]))


@dataclass(frozen=True)
class _FamilyEmbedding:
    new: _NewAxes
    embed: Embedding
    scale: Embedding

    def __call__(self, z: Float[Array, " _d"]) -> Float[Array, " _e"]:
        return jnp.concatenate([self.embed(z[: self.new.d]), self.scale(z[self.new.d :])])


@dataclass(frozen=True)
class _FamilyAnsatz:
    new: _NewAxes
    ansatz: Ansatz

    def __call__(self, net: Field, z: Float[Array, " _d"], c: Coefficients) -> Float[Array, " _m"]:
        return self.ansatz(self.new.member(net, z), z[: self.new.d], self.new.coefficients(z, c))


@dataclass(frozen=True)
class _FamilyReference:
    new: _NewAxes
    reference: Reference

    def __call__(self, c: Mapping[str, Any]) -> Field:
        return lambda z: self.reference(self.new.coefficients(z, c))(z[: self.new.d])


@dataclass(frozen=True)
class _CoefficientSampler:
    """A sampler of the p coefficients, for rows of d coordinates.

    The coefficients use the dimensions of the Sobol sequence that follow the first d, which the term's own points use.
    Together the two fill the box evenly; with the same dimensions the coefficients would repeat the coordinates.
    """

    d: int
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    logarithmic: tuple[int, ...]

    def __call__(self, key: Array, n: int) -> Float[Array, "n p"]:
        d = self.d
        joint = box((0.0,) * d + self.lower, (1.0,) * d + self.upper, logarithmic=[d + i for i in self.logarithmic])
        return joint(key, n)[:, d:]


@dataclass(frozen=True)
class _FamilyRows:
    """Rows of a member's term with the coefficients after the d coordinates; other columns come last."""

    new: _NewAxes
    draw_coefficients: Sampler

    def __call__(self, member_sample: Sampler, key: Array, n: int) -> Float[Array, "n _columns"]:
        key_points, key_values = jax.random.split(key)
        rows, d = member_sample(key_points, n), self.new.d
        values = self.draw_coefficients(key_values, n).astype(rows.dtype)
        return jnp.concatenate([rows[:, :d], values, rows[:, d:]], axis=1)


@dataclass(frozen=True)
class _FamilyResidual:
    """The residual of a member's term at the coefficients of each row."""

    new: _NewAxes

    def __call__(self, member_residual: Residual, u: Field, row: Array, c: Coefficients) -> Array:
        d = self.new.d
        member_row = jnp.concatenate([row[:d], row[d + len(self.new.names) :]])
        return member_residual(self.new.member(u, row), member_row, self.new.coefficients(row, c))


def _family_term(term: Term, new: _NewAxes, draw_coefficients: Sampler) -> Term:
    count = max(math.ceil(POINT_FACTOR ** len(new.names) * term.count), MIN_POINTS)
    sample = Partial(_FamilyRows(new, draw_coefficients), term.sample)
    return replace(term, sample=sample, residual=Partial(_FamilyResidual(new), term.residual), count=count)


def _widen(network: MLP, coefficients: int) -> MLP:
    """The network with wider layers, rounded to a multiple of four, the lanes of a vector."""
    return network.clone(hidden=tuple(4 * round(WIDTH_FACTOR**coefficients * width / 4) for width in network.hidden))


def _is_traceable(reference: Callable[[Coefficients], Field], family: Problem) -> bool:
    """Whether a reference can be evaluated at coefficients that are traced."""
    z = jax.ShapeDtypeStruct((len(family.axes),), jnp.zeros(()).dtype)
    try:
        jax.eval_shape(reference(family.coefficients), z)
    except jax.errors.JAXTypeError:  # it converts a coefficient to a Python number
        return False
    return True
