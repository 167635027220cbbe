"""The flow where a sliding lid meets a wall: its two leading terms at the corner, in closed form.

The coordinates start at the corner: X along the lid, Y into the fluid, r² = X² + Y², θ = atan(Y/X), so that the lid is
θ = 0 and the wall θ = π/2. Near the corner

    ψ = r f(θ) ± Re r² f₂(θ) + O(r³),    p = ∓(2/Re)(C X + D Y)/r² − c log r + G(θ) − ½|u|² + …

with the upper sign where the lid leaves the wall and the lower one where it meets the wall. f is the Stokes flow
(ΔΔψ = 0), f₂ its first inertial correction, f₂''' + 4 f₂' = f (f'' + f) + c, and G' = f' (f'' + f). f, f', f₂ and f₂'
satisfy the conditions on the lid and the wall.
Source: Taylor (1962) for f; Gupta, Manohar & Noble (1981) and Botella & Peyret (1998), section 3, for f₂.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

#: f = B sin θ + C θ cos θ + D θ sin θ.
_C, _D, _B = 4 / (np.pi**2 - 4), 2 * np.pi / (np.pi**2 - 4), -(np.pi**2) / (np.pi**2 - 4)

# A function of the angle is given by its nine coefficients of θᵖ (1, cos 2θ, sin 2θ), p = 0, 1, 2.
_POWERS = 3


def _derivative_matrix() -> np.ndarray:
    """The matrix that maps the coefficients of a function to those of its derivative."""
    matrix = np.zeros((3 * _POWERS, 3 * _POWERS))
    for p in range(_POWERS):
        for wave in range(3):
            if p:
                matrix[3 * (p - 1) + wave, 3 * p + wave] = p
        matrix[3 * p + 2, 3 * p + 1], matrix[3 * p + 1, 3 * p + 2] = -2, 2
    return matrix


_DERIVATIVE = _derivative_matrix()
#: f (f'' + f) and f' (f'' + f), multiplied out.
_FORCE = np.array([-_B * _C, _B * _C, _B * _D, 0, 2 * _C * _D, _D**2 - _C**2, 0, 0, 0])
_TORQUE = np.array([-_D - _C * _D, _C * _D - _D, _C + _D**2, _C**2 + _D**2, _D**2 - _C**2, -2 * _C * _D, 0, 0, 0])


def _angular(coefficients: np.ndarray, theta: Any, waves: tuple[Any, Any], xp: Any = np) -> Any:
    """Σ cᵢ θᵖ wave for each row of coefficients; ``waves`` are cos 2θ and sin 2θ."""
    one = xp.ones_like(theta)
    basis = [power * wave for power in (one, theta, theta**2) for wave in (one, *waves)]
    return xp.tensordot(coefficients, xp.stack(basis), 1)


def _waves(x: Any, y: Any) -> tuple[Any, Any]:
    """cos 2θ and sin 2θ as rational functions of the coordinates; at the corner itself, their values on the lid."""
    square = x**2 + y**2
    at_corner = square == 0
    return (x**2 - y**2 + at_corner) / (square + at_corner), 2 * x * y / (square + at_corner)


def _without_rounding(coefficients: np.ndarray) -> np.ndarray:
    """The coefficients, with those that differ from zero by rounding alone set to zero."""
    return np.where(np.abs(coefficients) < 1e-12, 0.0, coefficients)


def _inertial_correction() -> tuple[np.ndarray, float]:
    """f₂ and c from nine equations for the coefficients and four wall conditions, which have an exact solution."""
    unit = np.eye(3 * _POWERS)
    angle, cosine = np.array([0.0, np.pi / 2]), np.array([1.0, -1.0])
    at_walls = _angular(unit, angle, (cosine, np.zeros(2))).T
    walls = np.concatenate([at_walls, at_walls @ _DERIVATIVE])
    operator = np.linalg.matrix_power(_DERIVATIVE, 3) + 4 * _DERIVATIVE
    matrix = np.block([[operator, -unit[:, :1]], [walls, np.zeros((4, 1))]])
    solution = np.linalg.lstsq(matrix, np.concatenate([_FORCE, np.zeros(4)]), rcond=None)[0]
    return _without_rounding(solution[:-1]), float(solution[-1])


_F2, _LOG = _inertial_correction()
_F2_SLOPE = _without_rounding(_DERIVATIVE @ _F2)
_F2_VORTICITY = _without_rounding(_DERIVATIVE @ _F2_SLOPE + 4 * _F2)
_G = _without_rounding(np.linalg.lstsq(_DERIVATIVE, _TORQUE, rcond=None)[0])
_PARTS = np.stack([_F2, _F2_SLOPE, _G])
#: The smallest r in the formulas for the pressure and the velocity, which have no value at the corner itself.
_SMALLEST_RADIUS = 1e-9


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _angular_parts(order: int, theta: Array, waves: tuple[Array, Array]) -> Array:
    """f₂, f₂' and G, differentiated ``order`` times.

    The derivative uses the matrix. Differentiating operation by operation took XLA a fifth longer to compile.
    """
    return _angular(_PARTS @ np.linalg.matrix_power(_DERIVATIVE, order).T, theta, waves, jnp)


@_angular_parts.defjvp
def _angular_parts_jvp(order: int, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    return _angular_parts(order, *primals), _angular_parts(order + 1, *primals) * tangents[0][None]


class Flow(NamedTuple):
    """ψ, ψ_X, ψ_Y (which have no value at the corner itself) and p + ½|u|², up to a constant, at points (X, Y)."""

    psi: Any
    psi_x: Any
    psi_y: Any
    pressure: Any


def flow(x: Any, y: Any, inertia: Any, xp: Any = np) -> Flow:
    """Both terms together at X = x, Y = y; ``inertia`` is Re where the lid leaves the wall, −Re where it meets it."""
    theta, square, waves = xp.arctan2(y, x), x**2 + y**2, _waves(x, y)
    f2, slope, g = _angular_parts(0, theta, waves) if xp is jnp else _angular(_PARTS, theta, waves)
    f2, slope, stokes = inertia * f2, inertia * slope, _C * x + _D * y
    safe_square = xp.maximum(square, _SMALLEST_RADIUS**2)
    return Flow(
        psi=_B * y + theta * stokes + square * f2,
        psi_x=_C * theta - y * stokes / safe_square + 2 * x * f2 - y * slope,
        psi_y=_B + _D * theta + x * stokes / safe_square + 2 * y * f2 + x * slope,
        pressure=-2 / inertia * stokes / safe_square - _LOG * xp.log(safe_square) / 2 + g,
    )


class Derivatives(NamedTuple):
    """ψ_X, ψ_Y, Δψ, Δψ of the inertial term and its gradient, and the gradient of −c log r + G, at points (X, Y)."""

    x: np.ndarray
    y: np.ndarray
    laplacian: np.ndarray
    inertial_laplacian: np.ndarray
    friction_x: np.ndarray
    friction_y: np.ndarray
    pressure_x: np.ndarray
    pressure_y: np.ndarray


def derivatives(x: np.ndarray, y: np.ndarray, inertia: float) -> Derivatives:
    """The derivatives that the numerical solution needs, by the chain rule."""
    theta, square, waves = np.arctan2(y, x), x**2 + y**2, _waves(x, y)
    swirl = inertia * _angular(_F2_VORTICITY, theta, waves)
    swirl_slope = inertia * _angular(_DERIVATIVE @ _F2_VORTICITY, theta, waves) / square
    torque = _angular(_TORQUE, theta, waves)
    both_terms = flow(x, y, inertia)
    return Derivatives(
        x=both_terms.psi_x,
        y=both_terms.psi_y,
        laplacian=2 * (_D * x - _C * y) / square + swirl,
        inertial_laplacian=swirl,
        friction_x=-y * swirl_slope,
        friction_y=x * swirl_slope,
        pressure_x=(-_LOG * x - y * torque) / square,
        pressure_y=(-_LOG * y + x * torque) / square,
    )
