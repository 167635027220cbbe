"""A trained network as one value: callable, a pytree, saved in one file (``files``)."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from ..base.fork import check_not_forked
from ..base.types import Coefficients, Field, Params, is_traced
from ..pde.networks import MLP, count_parameters
from ..pde.problem import Problem
from .report import StageReport
from .summary import training_summary


def network_field(problem: Problem, network: MLP, params: Params, coefficients: Coefficients) -> Field:
    """The solution as a function of one point: embedding, then network, then ansatz.

    Args:
        problem: supplies the embedding and the ansatz.
        network: with as many outputs as the problem needs.
        params: the network's parameters.
        coefficients: passed to the ansatz.

    Returns:
        The field z (d,) -> u (m,).
    """
    embed = problem.embedding

    def net(z: Float[Array, " d"]) -> Float[Array, " outputs"]:
        return jnp.asarray(network.apply({"params": params}, embed(z)))

    if problem.ansatz is None:
        return net
    ansatz = problem.ansatz
    return lambda z: ansatz(net, z, coefficients)


@functools.partial(jax.jit, static_argnames=("problem", "network"))
def init_params(problem: Problem, network: MLP, key: Array) -> Params:
    """Initial parameters, in float64 if JAX has it enabled and in float32 otherwise.

    Args:
        problem: supplies the number of network inputs.
        network: with as many outputs as the problem needs.
        key: a JAX random key.
    """
    z = jnp.asarray(problem.lower, jnp.zeros(()).dtype)
    embed = problem.embedding
    return network.init(key, embed(z))["params"]


def precision(params: Params) -> jnp.dtype:
    """The parameters' floating-point type."""
    return jax.tree.leaves(params)[0].dtype


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "coefficients", "training"],
    meta_fields=["problem", "network"],
)
@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A problem's solution as a network. Called on points (n, d), it returns the fields (n, m).

    Attributes:
        problem: the problem that it solves; static under jit.
        network: its architecture; static under jit.
        params: its parameters; dynamic.
        coefficients: the coefficients it was trained at; dynamic.
        training: one report per stage of its training.
    """

    problem: Problem
    network: MLP
    params: Params
    coefficients: dict[str, Any]
    training: tuple[StageReport, ...] = ()

    def __call__(self, z: ArrayLike) -> Float[Array, "n m"]:
        """The fields at points z (n, d), columns as ``problem.axes``, in the precision of the parameters; jitted.

        Raises:
            ValueError: z is not of shape (n, d).
        RuntimeError: this process was forked from one in which JAX has run.
        """
        check_not_forked()
        z = jnp.asarray(z, self.dtype)
        check_points(z.shape, self.problem)
        return _values(self.problem, self.network, self.params, self.coefficients, z)

    def __repr__(self) -> str:
        """A summary of about six lines: problem, network, and how the training ended."""
        problem = self.problem
        coefficients = ", ".join(
            f"{name} = {value}" if np.ndim(value) or is_traced(value) else f"{name} = {value:.6g}"
            for name, value in self.coefficients.items()
        )
        layers, count = "-".join(map(str, self.network.layers(embedded_size(problem)))), count_parameters(self.params)
        return "\n".join(
            [
                f"Model of {problem.name!r}: ({', '.join(problem.axes)}) -> ({', '.join(problem.fields)})"
                + (f" at {coefficients}" if coefficients else ""),
                f"  conditions  {problem.conditions}",
                f"  network     {layers} {self.network.activation}, {count} parameters in {self.dtype}",
                *training_summary(self.training),
            ]
        )

    @property
    def field(self) -> Field:
        """The solution as a function of one point z (d,) -> (m,), to differentiate or vmap."""
        return network_field(self.problem, self.network, self.params, self.coefficients)

    @property
    def dtype(self) -> jnp.dtype:
        """The parameters' floating-point type."""
        return precision(self.params)

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return count_parameters(self.params)

    @property
    def layers(self) -> tuple[int, ...]:
        """The widths from network inputs to outputs, ``(2, 20, 20, 20, 1)``."""
        return self.network.layers(embedded_size(self.problem))


@functools.partial(jax.jit, static_argnames=("problem", "network"))
def _values(problem: Problem, network: MLP, params: Params, coefficients: Coefficients, z: Array) -> Array:
    return jax.vmap(network_field(problem, network, params, coefficients))(z)


def check_points(shape: tuple[int, ...], problem: Problem) -> None:
    """Raise ValueError unless ``shape`` is (n, d)."""
    if len(shape) != 2 or shape[1] != len(problem.axes):
        raise ValueError(
            f"points have shape {shape}; expected (n, {len(problem.axes)}) with columns {', '.join(problem.axes)}"
        )


def embedded_size(problem: Problem) -> int:
    """The number of network inputs, which the problem's embedding computes from d coordinates."""
    return jax.eval_shape(problem.embedding, jax.ShapeDtypeStruct((len(problem.axes),), jnp.zeros(()).dtype)).shape[0]
