"""References that are known at points: drawn in the domain once."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import kdpinn_jax as kd

#: The number of points at which a case is compared with its reference.
POINTS = 4096


def reference_points(domain: Any, values: Callable[[np.ndarray], np.ndarray]) -> Any:
    """The values of a reference at points of a domain.

    Args:
        domain: of ``kd.geometry``.
        values: (n, d) -> (n, m).
    """
    with jax.enable_x64(True):
        z = np.asarray(domain.interior()(jax.random.key(17), POINTS))
    return kd.reference_at(z, values(z))
