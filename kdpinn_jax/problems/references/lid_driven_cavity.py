"""The lid-driven cavity by a Galerkin method for the stream function, with the corner singularities subtracted."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array
from jaxtyping import Float
from numpy.polynomial import legendre

from ...base.types import Field
from ...pde.derivatives import derivative
from .. import _corner_flow
from .._corner_flow import Derivatives, derivatives
from ..lid_driven_cavity import X, Y

#: Basis functions per axis: 26 and 32 agree to 5e-5 in velocity, 32 and 40 to 2e-5 (tests/test_references.py).
MODES = 32
#: Newton's method ends when a step changes no coefficient by more than this; at Re = 100 it takes four to six steps.
TOLERANCE = 1e-7
#: Ghia, Ghia & Shin (1982), Re = 100: (y, u) on the vertical line x = ½ (table I).
GHIA_U = np.array(
    [
        (0.9766, 0.84123), (0.9688, 0.78871), (0.9609, 0.73722), (0.9531, 0.68717), (0.8516, 0.23151),
        (0.7344, 0.00332), (0.6172, -0.13641), (0.5, -0.20581), (0.4531, -0.21090), (0.2813, -0.15662),
        (0.1719, -0.10150), (0.1016, -0.06434), (0.0703, -0.04775), (0.0625, -0.04192), (0.0547, -0.03717),
    ]
)  # fmt: skip
#: Ghia, Ghia & Shin (1982), Re = 100: (x, v) on the horizontal line y = ½ (table II).
GHIA_V = np.array(
    [
        (0.9688, -0.05906), (0.9609, -0.07391), (0.9531, -0.08864), (0.9453, -0.10313), (0.9063, -0.16914),
        (0.8594, -0.22445), (0.8047, -0.24533), (0.5, 0.05454), (0.2344, 0.17527), (0.2266, 0.17507),
        (0.1563, 0.16077), (0.0938, 0.12317), (0.0781, 0.10890), (0.0703, 0.10091), (0.0625, 0.09233),
    ]
)  # fmt: skip


def lid_driven_cavity(coefficients: Mapping[str, Any], modes: int = MODES) -> Field:
    """The steady solution of u·∇u = −∇p + Δu/Re, ∇·u = 0 on [0, 1]², z = (x, y) -> (u, v, p).

    The velocity is (1, 0) on the lid y = 1, which includes the two top corners, and 0 on the other walls. p = 0 at the
    centre. Outside the cavity the solution is NaN.

    u = ψ_y and v = −ψ_x, where ψ is the flow of the two top corners (``_corner_flow``) plus a polynomial, which is
    determined by a Galerkin method for ψ_y Δψₓ − ψₓ Δψ_y = ΔΔψ/Re. The pressure is the sum of that of the corner flows,
    −½|u|², and a polynomial that is fitted to the momentum equation.

    The coefficient is ``reynolds`` Re, up to about 1000.
    """
    reynolds = float(coefficients["reynolds"])
    flow, pressure = _solve(reynolds, modes)

    def psi(z: Float[Array, " 2"]) -> Float[Array, " 1"]:
        x, y = z[X], 1 - z[Y]
        corners = _corner_flow.flow(x, y, reynolds, jnp).psi + _corner_flow.flow(1 - x, y, -reynolds, jnp).psi
        return (corners + _series(flow, z))[None]

    def solution(z: Float[Array, " 2"]) -> Float[Array, " 3"]:
        inside = jnp.all((z >= 0) & (z <= 1))
        corner = (z[Y] == 1) & ((z[X] == 0) | (z[X] == 1))
        # Derivatives do not exist at the corners. They are taken half-way along the lid instead, where all is finite.
        safe = jnp.where(inside & ~corner, z, jnp.asarray([0.5, 1.0], z.dtype))
        u, v = derivative(psi, Y)(safe)[0], -derivative(psi, X)(safe)[0]
        p = _corner_pressure(safe, reynolds) - (u**2 + v**2) / 2 + _series(pressure, safe)
        return jnp.where(inside, jnp.stack([u, v, p]), jnp.nan)

    return solution


def _corner_pressure(z: Array, reynolds: float) -> Array:
    x, y = z[X], 1 - z[Y]
    return _corner_flow.flow(x, y, reynolds, jnp).pressure + _corner_flow.flow(1 - x, y, -reynolds, jnp).pressure


def _corners(x: np.ndarray, y: np.ndarray, reynolds: float) -> Derivatives:
    """The sum of the corner flows' derivatives, in x and y."""
    left, right = derivatives(x, 1 - y, reynolds), derivatives(1 - x, 1 - y, -reynolds)
    # The right corner's X points left, and both Y point down.
    mirrored = {"x": -1, "friction_x": -1, "pressure_x": -1}
    down = {"y": -1, "friction_y": -1, "pressure_y": -1}
    return Derivatives(
        **{name: down.get(name, 1) * (getattr(left, name) + mirrored.get(name, 1) * getattr(right, name))
           for name in Derivatives._fields}
    )  # fmt: skip


def _series(c: Float[np.ndarray, "i j"], z: Array) -> Array:
    """Σ cᵢⱼ Pᵢ(2x−1) Pⱼ(2y−1) with Legendre polynomials from their recurrence."""

    def polynomials(s: Array) -> Array:
        def step(pair: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
            return (pair[1], ((2 * k + 1) * s * pair[1] - k * pair[0]) / (k + 1)), pair[0]

        return jax.lax.scan(step, (jnp.ones_like(s), s), jnp.arange(1.0, len(c) + 1, dtype=s.dtype))[1]

    return polynomials(2 * z[X] - 1) @ jnp.asarray(c, z.dtype) @ polynomials(2 * z[Y] - 1)


class _Quadrature:
    """Gauss–Legendre points on [0, 1], with the Legendre polynomials and their derivatives in x there."""

    def __init__(self, count: int, degree: int) -> None:
        xi, weight = legendre.leggauss(count)
        self.node, self.weight = (xi + 1) / 2, weight / 2
        unit = np.eye(degree + 1)
        self.tables = [
            np.stack([legendre.legval(xi, legendre.legder(c, m)) * 2**m for c in unit], axis=1) for m in range(4)
        ]

    def project(self, values: np.ndarray) -> np.ndarray:
        """Legendre coefficients along the last axis from values at the nodes."""
        degrees = np.arange(self.tables[0].shape[1])
        return (values * self.weight) @ self.tables[0] * (2 * degrees + 1)

    def values(self, c: np.ndarray, dx: int, dy: int) -> np.ndarray:
        """A derivative of Σ cᵢⱼ Pᵢ Pⱼ at all pairs of nodes, flattened."""
        return (self.tables[dx] @ c @ self.tables[dy].T).ravel()

    def gradient_and_laplacian(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.values(c, 1, 0), self.values(c, 0, 1), self.values(c, 2, 0) + self.values(c, 0, 2)


@functools.lru_cache(maxsize=4)
def _solve(reynolds: float, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Legendre coefficients of the stream function without the corner flows, and of the pressure."""
    # One and a half times as many points as modes integrate the cubic terms; a few more resolve the corners' 1/r.
    quadrature = _Quadrature(3 * modes // 2 + 12, modes + 3)
    x, y = (a.ravel() for a in np.meshgrid(quadrature.node, quadrature.node, indexing="ij"))
    corners = _corners(x, y, reynolds)
    flow = _newton(reynolds, modes, quadrature, _lift(quadrature, reynolds), corners)
    return flow, _fit_pressure(reynolds, flow, quadrature, corners)


def _lift(quadrature: _Quadrature, reynolds: float) -> np.ndarray:
    """Legendre coefficients of a smooth function which, added to the corner flows, satisfies the wall conditions.

    They are ψ = 0 and the normal slope 0, except ψ_y = 1 on the lid. The function is the cubic Coons patch of the
    deviation of the corner flows on the walls. Each corner flow is exact on its own two walls, so that on a side wall
    only the flow of the other corner deviates.
    """
    s = quadrature.node
    zero, one = np.zeros_like(s), np.ones_like(s)
    # The cubics with one of these equal to 1: value at 0, value at 1, slope at 0, slope at 1.
    cubics = np.stack([(1 - s) ** 2 * (1 + 2 * s), s**2 * (3 - 2 * s), s * (1 - s) ** 2, -(s**2) * (1 - s)])
    values = [_corner_flow.flow(one, 1 - s, inertia).psi for inertia in (-reynolds, reynolds)]
    slopes = [derivatives(one, 1 - s, inertia).x for inertia in (-reynolds, reynolds)]
    sides = np.stack([-values[0], -values[1], slopes[0], -slopes[1]])
    floor = _corner_flow.flow(s, one, reynolds).psi + _corner_flow.flow(1 - s, one, -reynolds).psi
    ends = np.stack([-floor, zero, -_corners(s, zero, reynolds).y, -one])
    coefficients = quadrature.project(sides)
    at_ends = [legendre.legval(xi, coefficients.T) for xi in (-1, 1)]
    end_slopes = [legendre.legval(xi, 2 * legendre.legder(coefficients.T)) for xi in (-1, 1)]
    corner = np.stack([*at_ends, *end_slopes], axis=1)
    patch = cubics.T @ sides + ends.T @ cubics - cubics.T @ corner @ cubics
    return quadrature.project(quadrature.project(patch).T).T


def _newton(reynolds: float, modes: int, quadrature: _Quadrature, lift: np.ndarray, corners: Derivatives) -> np.ndarray:
    """Solve ∫ Δψ Δw/Re + Δψ (ψ_y wₓ − ψₓ w_y) = 0 for all w whose value and slope vanish on the walls."""
    # Shen (1994), eq. 3.4: combinations of three Legendre polynomials whose second derivatives are orthonormal.
    k = np.arange(modes)
    basis = np.zeros((modes + 4, modes))
    basis[k, k], basis[k + 2, k], basis[k + 4, k] = 1, -2 * (2 * k + 5) / (2 * k + 7), (2 * k + 3) / (2 * k + 7)
    basis /= np.sqrt(2 * (2 * k + 3) ** 2 * (2 * k + 5))
    e0, e1, e2 = (table @ basis for table in quadrature.tables[:3])
    w_x, w_y, w_laplacian = np.kron(e1, e0), np.kron(e0, e1), np.kron(e2, e0) + np.kron(e0, e2)
    q = np.kron(quadrature.weight, quadrature.weight)
    smooth = quadrature.gradient_and_laplacian(lift)
    stiffness = (w_laplacian.T * q) @ w_laplacian / reynolds
    # The Stokes flow of the corners is biharmonic: ∫ Δψ Δw = ∫ ΔΔψ w = 0 exactly, and needs no quadrature.
    forcing = w_laplacian.T @ (q * (smooth[2] + corners.inertial_laplacian)) / reynolds
    known_x, known_y, known_laplacian = (a + b for a, b in zip(smooth, corners[:3], strict=True))
    a = np.zeros(modes**2)
    for _ in range(20):
        psi_x, psi_y = known_x + w_x @ a, known_y + w_y @ a
        laplacian = known_laplacian + w_laplacian @ a
        advected = (q * psi_y)[:, None] * w_x - (q * psi_x)[:, None] * w_y
        swirl = w_x.T @ ((q * laplacian)[:, None] * w_y)
        residual = stiffness @ a + forcing + advected.T @ laplacian
        step = scipy.linalg.solve(stiffness + advected.T @ w_laplacian + swirl - swirl.T, -residual)
        a += step
        if np.abs(step).max() <= TOLERANCE * np.abs(a).max():
            return lift + basis @ a.reshape(modes, modes) @ basis.T
    raise ValueError(
        f"lid_driven_cavity: Newton's method did not converge at reynolds={reynolds}; use at most about 1000"
    )


def _fit_pressure(reynolds: float, flow: np.ndarray, quadrature: _Quadrature, corners: Derivatives) -> np.ndarray:
    """The polynomial P for which p = p_corners − ½|u|² + P satisfies the momentum equation in the least-squares sense.

    With u·∇u = ∇½|u|² − u × ω and ω = −Δψ, and because the friction of the Stokes part is balanced by its own pressure,
    Pₓ = (Δψ_r)_y/Re + ψₓ Δψ − p'ₓ and P_y = −(Δψ_r)ₓ/Re + ψ_y Δψ − p'_y, where ψ_r is ψ without its Stokes part and p'
    the inertial part of p_corners.
    """
    psi_x, psi_y, laplacian = (a + b for a, b in zip(quadrature.gradient_and_laplacian(flow), corners[:3], strict=True))
    friction_x = quadrature.values(flow, 2, 1) + quadrature.values(flow, 0, 3) + corners.friction_y
    friction_y = quadrature.values(flow, 3, 0) + quadrature.values(flow, 1, 2) + corners.friction_x
    target_x = friction_x / reynolds + psi_x * laplacian - corners.pressure_x
    target_y = -friction_y / reynolds + psi_y * laplacian - corners.pressure_y
    target = np.concatenate([target_x, target_y])
    # At the corners the right-hand side depends on the angle, which no polynomial does, so equations have weight r².
    x, y = (a.ravel() for a in np.meshgrid(quadrature.node, quadrature.node, indexing="ij"))
    importance = np.minimum(np.minimum(x, 1 - x) ** 2 + (1 - y) ** 2, 1)
    importance = np.concatenate([importance, importance])
    count = 3 * len(flow) // 4  # fewer than for the flow, whose highest third derivatives are noise
    values, slopes = quadrature.tables[0][:, :count], quadrature.tables[1][:, :count]
    matrix = np.concatenate([np.kron(slopes, values), np.kron(values, slopes)])[:, 1:]  # the gauge sets the constant
    weighted = importance[:, None] * matrix
    fitted = scipy.linalg.solve(weighted.T @ weighted, weighted.T @ (importance * target), assume_a="pos")
    pressure = np.concatenate([[0.0], fitted]).reshape(count, count)
    # p = 0 at the centre.
    centre, unit = np.array([0.5]), np.eye(len(flow))
    value, slope = (np.asarray(legendre.legval(0.0, c)) for c in (unit, 2 * legendre.legder(unit)))
    corner = _corners(centre, centre, reynolds)
    square = (slope @ flow @ value + corner.x[0]) ** 2 + (value @ flow @ slope + corner.y[0]) ** 2
    corner_pressure = sum(_corner_flow.flow(0.5, 0.5, inertia).pressure for inertia in (reynolds, -reynolds))
    pressure[0, 0] = square / 2 - corner_pressure - value[:count] @ pressure @ value[:count]
    return pressure
