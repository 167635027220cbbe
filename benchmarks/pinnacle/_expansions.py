"""References on a square without discs: series that satisfy the equation, with coefficients fitted at the boundary.

Every term of a series satisfies the equation exactly, so the largest misfit at the boundary bounds the error by the
maximum principle. It is measured at other points than the fit.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ive, kve

Basis = Callable[[np.ndarray], np.ndarray]  # (n, 2) -> (n, functions)
Disc = tuple[float, float, float]  # centre and radius


class Fitted(NamedTuple):
    """A fitted series.

    Attributes:
        values: (n, 2) -> (n,).
        misfit: the largest deviation from the boundary values.
    """

    values: Callable[[np.ndarray], np.ndarray]
    misfit: float


def fit(
    half: float, discs: Sequence[Disc], basis: Basis, on_square: Callable[[np.ndarray], np.ndarray],
    on_discs: Callable[[np.ndarray], np.ndarray], points: int = 1200,
) -> Fitted:  # fmt: skip
    """The series with the given values on the sides of the square [−half, half]² and on the discs."""

    def boundary(points: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
        # The points of a side are dense next to the corners, where derivatives are singular.
        s = half * np.sin(np.pi / 2 * np.tanh(np.linspace(-3, 3, points) + shift) / np.tanh(3 + shift))
        ends = [np.full_like(s, end) for end in (-half, half)]
        sides = np.concatenate([np.stack(pair, axis=1) for e in ends for pair in ((s, e), (e, s))])
        angle = 2 * np.pi * (np.arange(points // 3) + shift) / (points // 3)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        circles = np.concatenate([np.array([x, y]) + r * circle for x, y, r in discs])
        return np.concatenate([sides, circles]), np.concatenate([on_square(sides), on_discs(circles)])

    z, values = boundary(points, 0.0)
    matrix = basis(z)
    scale = np.linalg.norm(matrix, axis=0)
    coefficients = np.linalg.lstsq(matrix / scale, values, rcond=1e-14)[0] / scale
    other, expected = boundary(points, 0.37)
    return Fitted(lambda z: basis(z) @ coefficients, float(np.max(np.abs(basis(other) @ coefficients - expected))))


def harmonic(half: float, discs: Sequence[Disc], inner: int, outer: int) -> Basis:
    """Polynomials of degree up to ``outer``, and for every disc a logarithm and negative powers up to ``inner``."""

    def basis(z: np.ndarray) -> np.ndarray:
        w = z[:, 0] + 1j * z[:, 1]
        columns = [np.ones(len(w))]
        for k in range(1, outer + 1):
            power = (w / (np.sqrt(2) * half)) ** k
            columns += [power.real, power.imag]
        for x, y, r in discs:
            inverse = r / (w - (x + 1j * y))
            columns.append(np.log(np.abs(inverse)))
            for k in range(1, inner + 1):
                power = inverse**k
                columns += [power.real, power.imag]
        return np.stack(columns, axis=1)

    return basis


def screened(k: float, half: float, discs: Sequence[Disc], inner: int, outer: int, poles: int) -> Basis:
    """Solutions of Δu = k² u: Bessel functions about the centre, those of every disc, and poles near the corners.

    The poles outside the corners approach them exponentially (Gopal & Trefethen 2019).
    """
    distances = half * np.exp(-4 * (np.sqrt(poles) - np.sqrt(np.arange(1, poles + 1)))) if poles else np.zeros(0)
    corners = [(a, b) for a in (-1, 1) for b in (-1, 1)]
    sources = [(half * a + d * a / np.sqrt(2), half * b + d * b / np.sqrt(2)) for a, b in corners for d in distances]

    def waves(z: np.ndarray, x: float, y: float, orders: int, radial: Callable[[int, np.ndarray], np.ndarray]):
        r, angle = np.hypot(z[:, 0] - x, z[:, 1] - y), np.arctan2(z[:, 1] - y, z[:, 0] - x)
        yield radial(0, r)
        for m in range(1, orders + 1):
            yield radial(m, r) * np.cos(m * angle)
            yield radial(m, r) * np.sin(m * angle)

    def basis(z: np.ndarray) -> np.ndarray:
        far = np.sqrt(2) * half
        growing = lambda m, r: ive(m, k * r) / ive(m, k * far) * np.exp(k * (r - far))
        columns = list(waves(z, 0.0, 0.0, outer, growing))
        for x, y, r0 in discs:
            columns += waves(z, x, y, inner, lambda m, r, r0=r0: kve(m, k * r) / kve(m, k * r0) * np.exp(k * (r0 - r)))
        for x, y in sources:
            columns += waves(z, x, y, 1, lambda m, r: kve(m, k * r) * np.exp(-k * r))
        return np.stack(columns, axis=1)

    return basis
