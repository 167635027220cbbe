"""Parametric problems: coefficients that become inputs, so that one network answers for a family of equations."""

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
from ..base.types import Coefficients, Field
from .embedding import scale_to_unit
from .problem import Problem, Term
from .sampling import Sampler, box

Range = tuple[float, float]
#: A family varies in more directions than its members: by how much a student is wider, and a term has more points, for
#: each coefficient. A teacher has neurons to spare, and time for fewer steps if it were wider.
WIDER, MORE_POINTS = 1.2, 1.5
#: Points of a term at least: what is asked at one point of a member, such as an initial value of an ordinary equation,
#: is asked along all coefficients.
FEWEST = 64


def parametric(problem: Problem, **ranges: Range) -> Problem:
    """The problem with these of its coefficients as further inputs, behind the others, each over a range.

        parametric(burgers, nu=(0.005, 0.05))   has the axes (t, x, nu)

    A network of it is trained over the whole family, and its derivatives along the new axes are the sensitivities to
    the coefficients. Everything else takes it like any other problem. The same arguments give the same object, so that
    jit traces it once. Source for networks of (t, x, μ): Sun, Gao, Pan & Wang (2020), sec. 2.

    Args:
        problem: any problem; its embedding, ansatz, terms and reference are asked at the coefficients of each point.
        ranges: (lowest, highest) of each coefficient, in its units. One wider than a factor of three is sampled and
            scaled by its logarithm. The order is that of the axes.

    Returns:
        A problem named as the one given, with ``family`` the names of the new axes and a wider ``student``. It has no
        ``bound``; and no ``reference`` where that of the problem is a numerical solution of one equation, which
        cannot follow a coefficient that differs from point to point.

    Raises:
        ValueError: a coefficient the problem does not have, a range that is not rising and finite, or none at all.
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
        student=_wider(problem.student, len(names)),
        bound=None,
    )
    embed, ansatz, reference = problem.embed, problem.ansatz, problem.reference
    new = slice(d, len(family.axes))
    logarithmic = tuple(i - d for i in family.logarithmic if i >= d)
    ends = family.lower[new], family.upper[new]
    scale, draw = scale_to_unit(*ends, logarithmic=logarithmic), _behind(d, *ends, logarithmic)

    def embed_all(z: Float[Array, " _d"]) -> Float[Array, " _e"]:
        assert embed is not None
        return jnp.concatenate([embed(z[:d]), scale(z[new])])

    def ansatz_all(net: Field, z: Float[Array, " _d"], c: Coefficients) -> Float[Array, " _m"]:
        assert ansatz is not None
        return ansatz(_member(net, z[new]), z[:d], _at(names, z[new], c))

    def reference_all(c: Coefficients) -> Field:
        def value(z: Float[Array, " _d"]) -> Float[Array, " _m"]:
            assert reference is not None
            return reference(_at(names, z[new], c))(z[:d])

        return value

    return replace(
        family,
        terms={name: _of_family(term, d, names, draw) for name, term in problem.terms.items()},
        embed=embed_all if embed else None,
        ansatz=ansatz_all if ansatz else None,
        reference=reference_all if reference and _follows(reference_all, family) else None,
    )


def _wider(network: Any, coefficients: int) -> Any:
    """Rounded to a multiple of four, the lanes of a vector."""
    return network.clone(hidden=tuple(4 * round(WIDER**coefficients * width / 4) for width in network.hidden))


def _at(names: tuple[str, ...], values: Float[Array, " p"], c: Coefficients) -> dict[str, Any]:
    """All coefficients at a point."""
    return dict(c) | {name: values[i] for i, name in enumerate(names)}


def _member(u: Field, values: Float[Array, " p"]) -> Field:
    """A field of the family at fixed coefficients, as a field of the coordinates."""
    return lambda z: u(jnp.concatenate([z, values]))


def _behind(d: int, lower: tuple[float, ...], upper: tuple[float, ...], logarithmic: tuple[int, ...]) -> Sampler:
    """Coefficients for rows of d coordinates: (n, p).

    They take the dimensions behind the first d of the Sobol sequence. A term's own points take those, so that both
    together fill the box evenly; with the same dimensions the coefficients would repeat the coordinates.
    """
    whole = box((0.0,) * d + lower, (1.0,) * d + upper, logarithmic=tuple(d + i for i in logarithmic))
    return lambda key, n: whole(key, n)[:, d:]


def _of_family(term: Term, d: int, names: tuple[str, ...], draw: Sampler) -> Term:
    """The term of a member, at the coefficients of each row; columns behind the d coordinates move behind them."""
    p = len(names)

    def sample(points: Callable[..., Array], key: Array, n: int) -> Float[Array, "n _columns"]:
        key_points, key_values = jax.random.split(key)
        rows = points(key_points, n)
        return jnp.concatenate([rows[:, :d], draw(key_values, n).astype(rows.dtype), rows[:, d:]], axis=1)

    def residual(of_member: Callable[..., Array], u: Field, row: Array, c: Coefficients) -> Array:
        values = row[d : d + p]
        return of_member(_member(u, values), jnp.concatenate([row[:d], row[d + p :]]), _at(names, values, c))

    count = max(math.ceil(MORE_POINTS**p * term.count), FEWEST)
    return replace(term, sample=Partial(sample, term.sample), residual=Partial(residual, term.residual), count=count)


def _follows(reference: Callable[[Coefficients], Field], family: Problem) -> bool:
    """Whether a reference can be asked at coefficients that are traced."""
    z = jax.ShapeDtypeStruct((len(family.axes),), jnp.zeros(()).dtype)
    try:
        jax.eval_shape(reference(family.coefficients), z)
    except jax.errors.JAXTypeError:  # a number was wanted
        return False
    return True
