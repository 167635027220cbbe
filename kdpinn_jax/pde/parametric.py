"""Parametric problems: coefficients become inputs, so that one network solves a family of equations."""

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Coefficients, Field, Residual, Sampler
from .embedding import scale_to_unit
from .networks import MLP
from .problem import Problem, Term
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


@functools.cache
def _parametric(problem: Problem, ranges: tuple[tuple[str, Range], ...]) -> Problem:
    d, names = len(problem.axes), tuple(name for name, _ in ranges)
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
    embed, ansatz, reference = problem.embed, problem.ansatz, problem.reference
    new = slice(d, len(family.axes))
    logarithmic = tuple(i - d for i in family.logarithmic if i >= d)
    lower, upper = family.lower[new], family.upper[new]
    scale = scale_to_unit(lower, upper, logarithmic=logarithmic)
    draw_coefficients = _coefficient_sampler(d, lower, upper, logarithmic)

    def family_embed(z: Float[Array, " _d"]) -> Float[Array, " _e"]:
        assert embed is not None
        return jnp.concatenate([embed(z[:d]), scale(z[new])])

    def family_ansatz(net: Field, z: Float[Array, " _d"], c: Coefficients) -> Float[Array, " _m"]:
        assert ansatz is not None
        return ansatz(_member_field(net, z[new]), z[:d], _coefficients_at(names, z[new], c))

    def family_reference(c: Coefficients) -> Field:
        def value(z: Float[Array, " _d"]) -> Float[Array, " _m"]:
            assert reference is not None
            return reference(_coefficients_at(names, z[new], c))(z[:d])

        return value

    return replace(
        family,
        terms={name: _family_term(term, d, names, draw_coefficients) for name, term in problem.terms.items()},
        embed=family_embed if embed else None,
        ansatz=family_ansatz if ansatz else None,
        reference=family_reference if reference and _is_traceable(family_reference, family) else None,
    )


def _widen(network: MLP, coefficients: int) -> MLP:
    """The network with wider layers, rounded to a multiple of four, the lanes of a vector."""
    return network.clone(hidden=tuple(4 * round(WIDTH_FACTOR**coefficients * width / 4) for width in network.hidden))


def _coefficients_at(names: tuple[str, ...], values: Float[Array, " p"], c: Coefficients) -> dict[str, Any]:
    """All coefficients at a point: ``c`` and those that are inputs."""
    return dict(c) | {name: values[i] for i, name in enumerate(names)}


def _member_field(u: Field, values: Float[Array, " p"]) -> Field:
    """A field of the family at fixed coefficients, as a field of the member's coordinates."""
    return lambda z: u(jnp.concatenate([z, values]))


def _coefficient_sampler(
    d: int, lower: tuple[float, ...], upper: tuple[float, ...], logarithmic: tuple[int, ...]
) -> Sampler:
    """A sampler of the p coefficients, for rows of d coordinates.

    The coefficients use the dimensions of the Sobol sequence that follow the first d, which the term's own points use.
    Together the two fill the box evenly; with the same dimensions the coefficients would repeat the coordinates.
    """
    joint = box((0.0,) * d + lower, (1.0,) * d + upper, logarithmic=tuple(d + i for i in logarithmic))
    return lambda key, n: joint(key, n)[:, d:]


def _family_term(term: Term, d: int, names: tuple[str, ...], draw_coefficients: Sampler) -> Term:
    """The term of a member at the coefficients of each row, which follow the d coordinates; other columns come last."""
    p = len(names)

    def sample(member_sample: Sampler, key: Array, n: int) -> Float[Array, "n _columns"]:
        key_points, key_values = jax.random.split(key)
        rows = member_sample(key_points, n)
        return jnp.concatenate([rows[:, :d], draw_coefficients(key_values, n).astype(rows.dtype), rows[:, d:]], axis=1)

    def residual(member_residual: Residual, u: Field, row: Array, c: Coefficients) -> Array:
        values = row[d : d + p]
        member_row = jnp.concatenate([row[:d], row[d + p :]])
        return member_residual(_member_field(u, values), member_row, _coefficients_at(names, values, c))

    count = max(math.ceil(POINT_FACTOR**p * term.count), MIN_POINTS)
    return replace(term, sample=Partial(sample, term.sample), residual=Partial(residual, term.residual), count=count)


def _is_traceable(reference: Callable[[Coefficients], Field], family: Problem) -> bool:
    """Whether a reference can be evaluated at coefficients that are traced."""
    z = jax.ShapeDtypeStruct((len(family.axes),), jnp.zeros(()).dtype)
    try:
        jax.eval_shape(reference(family.coefficients), z)
    except jax.errors.JAXTypeError:  # it converts a coefficient to a Python number
        return False
    return True
