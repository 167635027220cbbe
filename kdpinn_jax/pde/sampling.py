"""Samplers: pure functions ``(key, n) -> (n, columns)`` that draw points from boxes, their faces, and unions.

All designs are written in JAX, so that a whole training can be vmapped over keys. Samplers are values, which can be
compared, hashed, copied and pickled.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ..base.types import Key, Sampler
from .arguments import finite_floats

Design = Literal["uniform", "latin_hypercube", "sobol"]

#: The bits of a Sobol point. The random shift flips bits, so all 32 are needed.
_SOBOL_BITS = 32
#: Up to this number, the faces of a box are boxes themselves. More of them would take long to compile.
_MOST_BOXES = 16
#: The largest dimension for which SciPy has a Sobol sequence (Joe & Kuo 2008).
MOST_SOBOL_AXES = 21201


def sobol_points(n: int, d: int) -> Float[np.ndarray, "n d"]:
    """The first n points of the Sobol sequence in the unit cube, which start with the origin."""
    from scipy.stats import qmc  # scipy.stats takes a third of a second to import

    return qmc.Sobol(d, scramble=False, bits=_SOBOL_BITS).random_base2(max(n - 1, 1).bit_length())[:n]


def _uniform(key: Array, n: int, d: int) -> Array:
    return jax.random.uniform(key, (n, d))


def _latin_hypercube(key: Array, n: int, d: int) -> Array:
    """One point in each of n equal slices of every axis (McKay, Beckman & Conover 1979)."""
    key_jitter, key_order = jax.random.split(key)
    slices = jax.random.permutation(key_order, jnp.tile(jnp.arange(n)[:, None], (1, d)), axis=0, independent=True)
    return (slices + jax.random.uniform(key_jitter, (n, d))) / n


def _sobol(key: Array, n: int, d: int) -> Array:
    """Sobol points with a random digital shift (XOR), which keeps the balance of the net and is unbiased."""
    bits = jnp.asarray((sobol_points(n, d) * 2.0**_SOBOL_BITS).astype(np.uint32))
    shifted = bits ^ jax.random.bits(key, (1, d), jnp.uint32)
    # Half a step is added so that no point lies on a face of the box; in float32 the largest integers still round to 1.
    return jnp.clip((shifted.astype(jnp.zeros(()).dtype) + 0.5) / 2.0**_SOBOL_BITS, 0.0, 1.0)


_DESIGNS: dict[str, Callable[[Array, int, int], Array]] = {
    "uniform": _uniform,
    "latin_hypercube": _latin_hypercube,
    "sobol": _sobol,
}


def checked_design(what: str, design: str) -> None:
    """Raise ValueError unless a design is known.

    Args:
        what: the function that has it as an argument, for the message.
        design: the value of the argument.
    """
    if design not in _DESIGNS:
        raise ValueError(f"{what}: design={design!r} is unknown; use one of {', '.join(_DESIGNS)}")


def draw_unit_cube(design: Design, key: Key, n: int, d: int) -> Float[Array, "n d"]:
    """n points in the unit cube in d dimensions."""
    return _DESIGNS[design](key, n, d)


def box(
    lower: Sequence[float], upper: Sequence[float], design: Design = "sobol", *, logarithmic: Collection[int] = ()
) -> Sampler:
    """A sampler of the box [lower, upper]. An axis with lower == upper is held fixed, which samples a face or an edge.

    Args:
        lower: d numbers, in the units of the axes.
        upper: d numbers, in the units of the axes.
        design: ``"uniform"`` (independent points), ``"latin_hypercube"`` or ``"sobol"`` (randomised).
        logarithmic: the axes that are sampled uniformly in their logarithm; both of their ends must be positive.

    Returns:
        ``(key, n) -> (n, d)``.

    Raises:
        ValueError: the lengths differ, an upper end is less than its lower end, the design is unknown, or there are
            more axes than Sobol sequences.
    """
    low, high = finite_floats(lower), finite_floats(upper)
    if low is None or high is None:
        raise ValueError(f"box: lower={lower!r} and upper={upper!r} must be finite numbers, one per axis in each")
    if len(low) != len(high) or not low:
        raise ValueError(f"box: lower has {len(low)} numbers and upper {len(high)}; expected one per axis in each")
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise ValueError(f"box: lower={low} must not exceed upper={high} on any axis; swap the ends")
    checked_design("box", design)
    if design == "sobol" and len(low) > MOST_SOBOL_AXES:
        raise ValueError(
            f"box: design='sobol' has at most {MOST_SOBOL_AXES} axes, and the box has {len(low)}; use "
            "design='latin_hypercube' or 'uniform'"
        )

    return _Box(low, high, design, tuple(logarithmic))


@dataclass(frozen=True)
class _Box:
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    design: Design
    logarithmic: tuple[int, ...]

    def __call__(self, key: Array, n: int) -> Float[Array, "n d"]:
        unit = draw_unit_cube(self.design, key, n, len(self.lower))
        a, b = jnp.asarray([self.lower], unit.dtype), jnp.asarray([self.upper], unit.dtype)
        z = a + (b - a) * unit
        for axis in self.logarithmic:
            low, high = a[0, axis], b[0, axis]
            z = z.at[:, axis].set(jnp.clip(low * (high / low) ** unit[:, axis], low, high))
        return z


def drawn(sample: Sampler, n: int) -> Float[np.ndarray, "n columns"]:
    """n rows of a sampler, always the same ones, drawn immediately even inside jit, by one compiled program."""
    with jax.ensure_compile_time_eval():
        return np.asarray(jax.jit(sample, static_argnums=1)(jax.random.key(0), n))


def faces(
    lower: Sequence[float],
    upper: Sequence[float],
    axes: Sequence[int],
    design: Design = "sobol",
    *,
    normals: bool = False,
) -> Sampler:
    """A sampler of the faces of a box.

    Args:
        lower: lower corner of the box, d numbers.
        upper: upper corner of the box, d numbers.
        axes: the axes whose lower and upper faces are sampled.
        design: as in ``box``.
        normals: whether the outward unit normal follows the coordinates, (n, 2 d), as ``kd.neumann`` requires.

    Returns:
        ``(key, n) -> (n, d)``, with n divided evenly among the faces.
    """
    if 2 * len(axes) > _MOST_BOXES or normals:
        return _Faces(tuple(map(float, lower)), tuple(map(float, upper)), tuple(axes), design, normals)
    ends = []
    for axis in axes:
        for end in (lower[axis], upper[axis]):
            low, high = list(lower), list(upper)
            low[axis] = high[axis] = end
            ends.append(box(low, high, design))
    return union(*ends)


@dataclass(frozen=True)
class _Faces:
    """The points of the whole box, moved to one face after the other."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    axes: tuple[int, ...]
    design: Design
    normals: bool

    def __call__(self, key: Array, n: int) -> Float[Array, "n columns"]:
        z = box(self.lower, self.upper, self.design)(key, n)
        face = np.arange(n) * 2 * len(self.axes) // n
        axis, ends = np.asarray(self.axes)[face // 2], np.asarray([self.lower, self.upper])
        z = z.at[np.arange(n), axis].set(jnp.asarray(ends[face % 2, axis], z.dtype))
        if not self.normals:
            return z
        normal = np.zeros(z.shape)
        normal[np.arange(n), axis] = 2 * (face % 2) - 1
        return jnp.concatenate([z, jnp.asarray(normal, z.dtype)], axis=1)


def union(*samplers: Sampler) -> Sampler:
    """A sampler of the union of several sets.

    Args:
        samplers: the sampler of each set.

    Returns:
        ``(key, n) -> (n, columns)``, with n divided evenly among the sets; the first ones get the remainder.
    """
    return _Union(samplers)


@dataclass(frozen=True)
class _Union:
    samplers: tuple[Sampler, ...]

    def __call__(self, key: Array, n: int) -> Float[Array, "n columns"]:
        sets = len(self.samplers)
        counts = [n // sets + (i < n % sets) for i in range(sets)]
        keys = jax.random.split(key, sets)
        return jnp.concatenate([draw(k, c) for draw, k, c in zip(self.samplers, keys, counts, strict=True) if c])
