"""Evaluation of many rows in chunks of one size, so that a jitted function is compiled once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float


def map_chunks(function: Callable[..., Any], size: int, *arrays: np.ndarray) -> Float[np.ndarray, "n *k"]:
    """``function(*arrays)``, evaluated on ``size`` rows of the arrays at a time.

    The last chunk is padded with repeated rows: the function may have no value at an arbitrary one.

    Args:
        function: arrays of ``size`` rows -> an array of as many rows.
        size: the number of rows per call.
        arrays: arrays of n rows each, n ≥ 1.
    """
    n = len(arrays[0])
    padded = [np.concatenate([array, np.repeat(array[-1:], -n % size, axis=0)]) for array in arrays]
    parts = [np.asarray(function(*(array[i : i + size] for array in padded))) for i in range(0, n, size)]
    return np.concatenate(parts)[:n]
