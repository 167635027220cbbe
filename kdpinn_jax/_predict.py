"""``compile_predict``: the path of a model that callers put into their loops."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ._model import Model
from ._objective import network_field


def cast(model: Model, dtype: DTypeLike) -> Model:
    """The model with its parameters in another precision.

    Raises:
        ValueError: float64 is asked for and not enabled, or the type is neither float32 nor float64.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype={dtype} is not supported; use float32 or float64")
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError("dtype=float64 needs jax.config.update('jax_enable_x64', True) before any computation")
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), model.params)
    coefficients = {name: float(value) for name, value in model.coefficients.items()}
    return replace(model, params=params, coefficients=coefficients)


def compile_predict(model: Model, *, dtype: DTypeLike = jnp.float32) -> Callable[[ArrayLike], Array]:
    """A function z (n, d) -> u (n, m) with the parameters compiled in as constants: the least work a call can do.

    Args:
        model: what to serve.
        dtype: precision of arithmetic and result, float32 or float64. Give it points of that type: a conversion costs
            more than a small batch.

    Returns:
        A jitted function, compiled once for each number of points.

    Raises:
        ValueError: as ``cast``; the returned function raises it for points that are not (n, d).
    """
    served = cast(model, dtype)
    field, d = (
        network_field(served.problem, served.network, served.params, served.coefficients),
        len(model.problem.axes),
    )

    @jax.jit
    def predict(z: Array) -> Array:
        if z.ndim != 2 or z.shape[1] != d:
            raise ValueError(f"points have shape {z.shape}; expected (n, {d}) with the columns {model.problem.axes}")
        return jax.vmap(field)(z.astype(dtype))

    return predict
