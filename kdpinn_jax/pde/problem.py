"""A PDE as a value: terms with samplers and residuals, coefficients, and an optional reference solution."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
from jax.tree_util import Partial

from ..base.types import Ansatz, Reference, Residual, Sampler
from .arguments import corner, names, scalars
from .embedding import Embedding, scale_to_unit
from .fingerprint import Fingerprints, problem_fingerprints
from .inside import Predicate, check_predicate
from .networks import MLP

Conditions = Literal["soft", "hard"]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["sample", "residual"], meta_fields=["count"])
@dataclass(frozen=True, eq=False)
class Term:
    """One requirement on the solution: where it is sampled, and its residual.

    Attributes:
        sample: ``(key, n) -> (n, columns)``. The first d columns are coordinates; further columns may carry data
            (measured values, soft targets) to the residual.
        residual: ``(u, row, coefficients) -> (k,)`` at ONE row, zero if the requirement holds.
        count: the number of points that training draws.

    Both functions may be ``jax.tree_util.Partial`` with arrays bound to them. Those arrays are dynamic: another teacher
    or other data do not cause another trace. A plain function is static.

    Raises:
        ValueError: count is less than 1.
    """

    sample: Sampler
    residual: Residual
    count: int = 1024

    def __post_init__(self) -> None:
        # A Partial without arguments is a pytree whose only content, the function, is static.
        for name in ("sample", "residual"):
            function = getattr(self, name)
            if callable(function) and not isinstance(function, Partial):
                object.__setattr__(self, name, Partial(function))
            elif not callable(function):
                raise ValueError(f"Term: {name}={function!r} must be a function")
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"Term: count={self.count!r} must be a whole number of points, at least 1")

    def for_fields(self, fields: tuple[str, ...]) -> "Term":
        """The term with the names of fields in its residual replaced by their indices."""
        residual = _for_fields(self.residual, fields)
        return self if residual is self.residual else replace(self, residual=residual)


def _for_fields(residual: Any, fields: tuple[str, ...]) -> Any:
    """A residual, and those that it wraps, with indices of fields instead of names."""
    if not isinstance(residual, Partial):
        return residual.for_fields(fields) if hasattr(residual, "for_fields") else residual
    before = (residual.func, *residual.args)
    function, *arguments = (_for_fields(part, fields) for part in before)
    unchanged = all(a is b for a, b in zip(before, (function, *arguments), strict=True))
    return residual if unchanged else Partial(function, *arguments, **residual.keywords)


#: The range of a coefficient is wide if its ends differ by more than this factor. It is then scaled and sampled by its
#: logarithm, so that each decade gets an equal share of the points and of the network's input.
WIDE = 3.0


@dataclass(frozen=True, eq=False)
class Problem:
    """A partial differential equation with its conditions: a static argument of jit.

    Two problems are equal if all of their attributes are, where functions are compared by what they compute
    (``fingerprints``), and the reference and the bound by ``==``. A copy, or an unpickled one, equals the original.

    Attributes:
        name: the name used in files and on the command line.
        axes: names of the d inputs, time first: ``("t", "x")``.
        fields: names of the m unknowns: ``("u",)``.
        lower: lower corner of the domain, d numbers.
        upper: upper corner of the domain, d numbers.
        terms: ``{name: Term}``; every condition is a term, including those that the ansatz satisfies.
        coefficients: the coefficients of the equation; dynamic.
        weights: the loss weight of each term; 1 for an equation or data without one, and for a condition without one
            what ``train_teacher`` and ``distill`` compute.
        embed: z (d,) -> network inputs (e,); None scales to [−1, 1].
        ansatz: ``(net, z, coefficients) -> u`` (m,), with the network ``net`` as a field of z: hard conditions. None
            uses the network's output as u.
        enforced: names of the terms that the ansatz satisfies identically; training leaves them out.
        outputs: the number of network outputs, if not m.
        reference: ``coefficients -> Field``, the exact or a converged numerical solution, or None. It is evaluated in
            float64, and returns NaN outside the domain if it does not extend there.
        inside: where the domain lies within the box: z -> one bool at one point z of time and space, in JAX
            (``lambda z: z[0] ** 2 + z[1] ** 2 < 1``); None is the whole box. Errors, estimates, pictures and the
            points of imitation are restricted to it; the samplers of the terms are yours (``restrict``).
        headline: name and fields of the error that is quoted first: ``("velocity", ("u", "v"))``.
        teacher: the network that is trained if the caller names none.
        student: the network that is distilled if the caller names none.
        family: names of the last axes, if they are coefficients of the equation (set by ``parametric``).
        bound: ``model -> ErrorEstimate`` by a theorem about these terms on this domain, used by ``error_estimate``;
            None estimates the error. It raises ``NoBound`` for a problem with other terms.

    Raises:
        ValueError: lower and upper do not fit the axes, a coefficient or weight is not one finite number, a name in
            weights or enforced is not among the terms, or inside does not return one bool.
    """

    name: str
    axes: tuple[str, ...]
    fields: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    terms: Mapping[str, Term]
    coefficients: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    embed: Embedding | None = None
    ansatz: Ansatz | None = None
    enforced: tuple[str, ...] = ()
    outputs: int | None = None
    reference: Reference | None = None
    inside: Predicate | None = None
    headline: tuple[str, tuple[str, ...]] | None = None
    teacher: MLP = MLP((50, 50, 50))
    student: MLP = MLP((20, 20, 20))
    family: tuple[str, ...] = ()
    bound: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        what = f"Problem {self.name!r}: "
        axes, fields = (names(f"{what}{n}", getattr(self, n), required=True) for n in ("axes", "fields"))
        for name, term in self.terms.items():
            if not isinstance(term, Term):
                raise ValueError(f"{what}term {name!r} is {term!r}; expected Term(sampler, residual)")
        normal = {
            "axes": axes,
            "fields": fields,
            "lower": corner(f"{what}lower", self.lower, axes),
            "upper": corner(f"{what}upper", self.upper, axes),
            "terms": {name: term.for_fields(fields) for name, term in self.terms.items()},
            "coefficients": scalars(f"{what}coefficients", self.coefficients),
            "weights": scalars(f"{what}weights", self.weights),
            "enforced": names(f"{what}enforced", self.enforced),
            "family": names(f"{what}family", self.family),
        }
        for attribute, value in normal.items():
            object.__setattr__(self, attribute, value)
        if any(not a < b for a, b in zip(self.lower, self.upper, strict=True)):
            raise ValueError(f"{what}lower={self.lower} must be less than upper={self.upper} on every axis")
        for attribute in ("enforced", "weights"):
            if unknown := set(getattr(self, attribute)) - set(self.terms):
                raise ValueError(
                    f"{what}{attribute} names {sorted(unknown)}, which are not among its terms {sorted(self.terms)}"
                )
        if self.inside is not None:
            check_predicate(self.inside, self.coordinates, f"Problem {self.name!r}")

    @functools.cached_property
    def fingerprints(self) -> Fingerprints:
        """What distinguishes the functions that training uses; see ``problem_fingerprints``."""
        return problem_fingerprints(self)

    @functools.cached_property
    def _identity(self) -> tuple[Any, ...]:
        """Everything that distinguishes the problem from others."""
        numbers = (tuple(sorted(self.coefficients.items())), tuple(sorted(self.weights.items())))
        names = (self.name, self.axes, self.fields, self.enforced, self.outputs, self.headline, self.family)
        networks = (self.teacher, self.student)
        counts = tuple((name, term.count) for name, term in self.terms.items())
        try:
            functions: Any = tuple(self.fingerprints.labelled().items())
        except Exception:  # a function that cannot be traced equals itself alone
            functions = id(self)
        return names, self.lower, self.upper, numbers, networks, counts, functions

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Problem):
            return self is other
        same = self._identity == other._identity
        return same and (self.reference, self.bound) == (other.reference, other.bound)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __getstate__(self) -> dict[str, Any]:
        """The attributes without what was derived from them, which depends on the versions of JAX and Python."""
        return {attribute.name: getattr(self, attribute.name) for attribute in dataclasses.fields(self)}

    @property
    def conditions(self) -> Conditions:
        """``"hard"`` if the ansatz satisfies conditions identically, ``"soft"`` if all are terms of the loss."""
        return "hard" if self.enforced else "soft"

    @property
    def coordinates(self) -> int:
        """The number of axes that are time and space; those in ``family`` follow them."""
        return len(self.axes) - len(self.family)

    @property
    def logarithmic(self) -> tuple[int, ...]:
        """The axes that are scaled and sampled by their logarithm: coefficients with a wide range."""
        return tuple(i for i in range(self.coordinates, len(self.axes)) if 0 < WIDE * self.lower[i] < self.upper[i])

    @property
    def embedding(self) -> Embedding:
        """``embed``, or the default."""
        return self.embed or scale_to_unit(self.lower, self.upper, logarithmic=self.logarithmic)


@functools.lru_cache(maxsize=64)
def with_conditions(problem: Problem, conditions: Conditions) -> Problem:
    """The problem with soft or hard conditions.

    The same arguments return the same object, so that jit traces it once.

    Args:
        problem: any problem.
        conditions: ``"soft"`` drops the ansatz and the embedding, so that every condition is a term of the loss;
            ``"hard"`` requires a problem with an ansatz.

    Raises:
        ValueError: ``"hard"`` for a problem without an ansatz, or an unknown value.
    """
    if conditions not in ("soft", "hard"):
        raise ValueError(f"conditions={conditions!r} is unknown; use 'soft' or 'hard'")
    if problem.conditions == conditions:
        return problem
    if conditions == "hard":
        raise ValueError(f"problem {problem.name!r} has no ansatz for hard conditions; use conditions='soft'")
    return replace(problem, embed=None, ansatz=None, enforced=(), outputs=None)
