"""Errors of a field against the reference, and ``Metrics``, the result of ``evaluate``."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..pde.problem import Problem

#: The number of members of a family that a table shows.
_SHOWN = 5
_NO_REFERENCE = "no reference solution"


class Errors(NamedTuple):
    """Errors of one quantity, in the units of u.

    Attributes:
        rmse: √mean|e|².
        relative_l2: ‖e‖₂/‖u‖₂, without a unit.
        max_error: the largest |e|.
    """

    rmse: float
    relative_l2: float
    max_error: float


class FamilyMember(NamedTuple):
    """The errors of one member of a parametric family, in the headline quantity."""

    coefficients: dict[str, float]
    errors: Errors


class Metrics(NamedTuple):
    """The result of ``evaluate``.

    Attributes:
        quantity: the headline quantity (``"u"``, ``"velocity"``); empty without a reference.
        errors: ``{quantity or field: Errors}`` on the domain.
        extrapolation: ``{"mild right": {…}, "hard right": {…}}``, errors outside the domain alone, if the reference
            extends there.
        residuals: ``{term: √mean|r|²}`` at points that training did not draw, including terms that the ansatz enforces.
        members: for a parametric family, the errors at each set of coefficients on a grid over their ranges, largest
            relative L2 error first; ``errors`` are over all of them.
        excluded: the number of points of the domain that were left out because the reference is not finite there.
    """

    quantity: str
    errors: dict[str, Errors]
    extrapolation: dict[str, dict[str, Errors]]
    residuals: dict[str, float]
    members: tuple[FamilyMember, ...] = ()
    excluded: int = 0

    @property
    def headline(self) -> Errors:
        """The errors of the headline quantity.

        Raises:
            ValueError: there was no reference.
        """
        if not self.errors:
            raise ValueError(
                "these metrics have no errors, because the problem has no reference; give Problem(reference=...), or "
                "use kd.error_estimate(model)"
            )
        return self.errors[self.quantity]

    def __repr__(self) -> str:
        """A table: errors on the domain and beyond it, residuals, and the worst members of a family."""
        rows = [(name, *errors) for name, errors in self.errors.items()]
        for region, fields in self.extrapolation.items():
            rows += [(f"{name}, {region}", *errors) for name, errors in fields.items()]
        for member in self.members[:_SHOWN]:
            rows.append(
                (", ".join(f"{name} = {value:.3g}" for name, value in member.coefficients.items()), *member.errors)
            )
        width = max(map(len, [_NO_REFERENCE, *(row[0] for row in rows), *self.residuals])) + 2
        header = f"{'':{width}}{'RMSE':>10}{'rel. L2':>10}{'maximum':>10}"
        table = [f"{name:{width}}" + "".join(f"{number:10.1e}" for number in numbers) for name, *numbers in rows]
        if len(self.members) > _SHOWN:
            table.append(f"… and {len(self.members) - _SHOWN} members with smaller errors")
        residuals = [f"{name:{width}}{number:10.1e}" for name, number in self.residuals.items()]
        return "\n".join(
            [*([header, *table] if rows else [_NO_REFERENCE]), *(["residuals", *residuals] if residuals else [])]
        )

    @property
    def rmse(self) -> float:
        """The root mean square error of the headline quantity, in the units of u."""
        return self.headline.rmse

    @property
    def relative_l2(self) -> float:
        """The relative L2 error of the headline quantity."""
        return self.headline.relative_l2

    @property
    def max_error(self) -> float:
        """The largest error of the headline quantity, in the units of u."""
        return self.headline.max_error

    @property
    def corners(self) -> tuple[FamilyMember, ...]:
        """The members at the corners of the ranges, largest error first."""
        ends = {}
        for member in self.members:
            for name, value in member.coefficients.items():
                low, high = ends.get(name, (value, value))
                ends[name] = min(low, value), max(high, value)
        return tuple(m for m in self.members if all(value in ends[name] for name, value in m.coefficients.items()))

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return {
            "quantity": self.quantity,
            **({} if not self.errors else self.headline._asdict()),
            "fields": _write_errors(self.errors),
            "extrapolation": {name: _write_errors(region) for name, region in self.extrapolation.items()},
            "residuals": self.residuals,
            "members": [{"coefficients": m.coefficients, **m.errors._asdict()} for m in self.members],
            "excluded": self.excluded,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Metrics":
        """The inverse of ``as_dict``.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: ``content`` has another structure.
        """
        metrics = cls(
            quantity=str(content["quantity"]),
            errors=_read_errors(content["fields"]),
            extrapolation={str(name): _read_errors(region) for name, region in content["extrapolation"].items()},
            residuals=_read_numbers(content["residuals"]),
            members=tuple(
                FamilyMember(_read_numbers(member["coefficients"]), _read_one(member))
                for member in content.get("members", ())
            ),
            excluded=int(content.get("excluded", 0)),
        )
        if metrics.errors and metrics.quantity not in metrics.errors:
            raise ValueError(f"no error of the headline quantity {metrics.quantity!r}")
        return metrics


def _write_errors(errors: Mapping[str, Errors]) -> dict[str, dict[str, float]]:
    return {name: quantity_errors._asdict() for name, quantity_errors in errors.items()}


def _read_one(content: Mapping[str, Any]) -> Errors:
    return Errors(*(float(content[key]) for key in Errors._fields))


def _read_errors(content: Mapping[str, Any]) -> dict[str, Errors]:
    return {str(name): _read_one(errors) for name, errors in content.items()}


def _read_numbers(content: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in content.items()}


def quantities(problem: Problem) -> dict[str, list[int]]:
    """The columns of each quantity whose error is reported, the headline quantity first."""
    fields = {name: [i] for i, name in enumerate(problem.fields)}
    if problem.headline is None:
        return fields
    name, members = problem.headline
    return {name: [problem.fields.index(member) for member in members]} | fields


def headline(problem: Problem) -> tuple[str, list[int]]:
    """Name and columns of the headline quantity."""
    return next(iter(quantities(problem).items()))


def compute_errors(problem: Problem, u: Float[np.ndarray, "n m"], exact: Float[np.ndarray, "n m"]) -> dict[str, Errors]:
    """Errors of each quantity. The error of a vector (velocity) is the length of its error vector.

    The relative error of a field whose reference is zero is infinite.
    """
    errors = {}
    for name, columns in quantities(problem).items():
        length = np.linalg.norm(u[:, columns] - exact[:, columns], axis=1)
        size, norm = float(np.linalg.norm(length)), float(np.linalg.norm(exact[:, columns]))
        relative = size / norm if norm > 0 else math.inf if size > 0 else 0.0
        errors[name] = Errors(float(np.sqrt(np.mean(length**2))), relative, float(np.max(length)))
    return errors
