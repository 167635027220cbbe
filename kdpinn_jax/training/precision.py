"""The precision of a training: JAX's own, float64 if the process has enabled it and float32 otherwise."""

import warnings

import numpy as np
from jax.typing import DTypeLike

from ..base.types import Params
from ..models.model import precision

_ENABLE = "jax.config.update('jax_enable_x64', True) before any computation, in every worker process too"


def check_precision(params: Params, dtype: DTypeLike | None, caller: str) -> None:
    """Warn of a training in float32 that was not asked for.

    Most often a process, such as a worker of a pool, has not enabled float64.

    Args:
        params: the initial parameters, in JAX's precision.
        dtype: the precision that is intended, ``"float32"`` or ``"float64"``, or None.
        caller: the name of the function that is called, for messages.

    Raises:
        ValueError: the intended precision is not JAX's own.
    """
    own = precision(params)
    if dtype is None and own != np.float64:
        warnings.warn(
            f"{caller}: training in {own}, because this process has not enabled float64; errors stop falling early. "
            f"Call {_ENABLE}, or pass dtype='{own}' if this is intended",
            RuntimeWarning,
            stacklevel=4,
        )
    if dtype is None:
        return
    try:
        intended = np.dtype(dtype)
    except TypeError:
        raise ValueError(f"{caller}: dtype={dtype!r} is unknown; use 'float64' or 'float32'") from None
    if intended != own:
        remedy = f"call {_ENABLE}" if own == np.float32 else "disable jax_enable_x64, or leave dtype out"
        raise ValueError(f"{caller}: dtype={intended} is intended, but JAX computes in {own}; {remedy}")
