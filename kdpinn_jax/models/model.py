"""A trained network as one value: callable, a pytree, saved in one file (``_files``)."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.types import Field, Params
from ..pde.networks import MLP, count_parameters
from ..pde.problem import Problem
from ..training.objective import network_field
from .report import StageReport


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "coefficients", "training"],
    meta_fields=["problem", "network"],
)
@dataclass(frozen=True, eq=False)
class Model:
    """A problem's solution as a network. Called on points (n, d) it gives the fields (n, m).

    Attributes:
        problem, network: static. params, coefficients: dynamic.
        training: a report of each stage it went through.
    """

    problem: Problem
    network: MLP
    params: Params
    coefficients: dict[str, Any]
    training: tuple[StageReport, ...] = ()

    def __call__(self, z: ArrayLike) -> Float[Array, "n m"]:
        """The fields at points z (n, d), columns as ``problem.axes``, in the parameters' precision. Jitted once.

        Raises:
            ValueError: z is not (n, d).
        """
        z = jnp.asarray(z, self.dtype)
        if z.ndim != 2 or z.shape[1] != len(self.problem.axes):
            raise ValueError(
                f"points have shape {z.shape}; expected (n, {len(self.problem.axes)}) with the columns "
                f"{', '.join(self.problem.axes)}"
            )
        return _values(self.problem, self.network, self.params, self.coefficients, z)

    @property
    def field(self) -> Field:
        """The solution as a function of one point z (d,) -> (m,), to differentiate or vmap."""
        return network_field(self.problem, self.network, self.params, self.coefficients)

    @property
    def dtype(self) -> Any:
        """The parameters' floating-point type."""
        return jax.tree.leaves(self.params)[0].dtype

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return count_parameters(self.params)

    @property
    def layers(self) -> tuple[int, ...]:
        """The widths from network inputs to outputs, ``(2, 20, 20, 20, 1)``."""
        return self.network.layers(embedded_size(self.problem))


@functools.partial(jax.jit, static_argnames=("problem", "network"))
def _values(problem: Problem, network: MLP, params: Params, coefficients: dict[str, Any], z: Array) -> Array:
    return jax.vmap(network_field(problem, network, params, coefficients))(z)


def embedded_size(problem: Problem) -> int:
    """The number of network inputs the problem's embedding makes of its d coordinates."""
    return jax.eval_shape(problem.embedding, jax.ShapeDtypeStruct((len(problem.axes),), jnp.zeros(()).dtype)).shape[0]
