"""The network: a multilayer perceptron in Flax linen, used through its pure ``init`` and ``apply``."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..base.names import nearest
from ..base.types import Params

#: The activation functions by name.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": jnp.tanh, "silu": nn.silu, "sine": jnp.sin}


class MLP(nn.Module):
    """The network x -> W_L a(… a(W₁ x + b₁) …) + b_L with activation a.

    Initial weights are Glorot-normal, initial biases zero (Glorot & Bengio 2010). All attributes are hashable: a
    network is a static argument of jit, and equal networks share one trace.

    Attributes:
        hidden: the widths of the hidden layers, ``(20, 20, 20)``. The problem determines the inputs and outputs.
        activation: ``"tanh"``, ``"silu"`` or ``"sine"``.
        outputs: the width of the last layer; set from the problem when training begins.

    Raises:
        ValueError: a width that is not a positive whole number, or an unknown activation.
    """

    hidden: tuple[int, ...] = (20, 20, 20)
    activation: str = "tanh"
    outputs: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.hidden, int):
            raise ValueError(f"MLP: hidden={self.hidden} must be a tuple of widths, such as MLP(({self.hidden},))")
        if isinstance(self.hidden, list):
            object.__setattr__(self, "hidden", tuple(self.hidden))
        if not self.hidden or any(isinstance(w, bool) or not isinstance(w, int) or w < 1 for w in self.hidden):
            raise ValueError(f"MLP: hidden={self.hidden} must be one or more positive whole numbers, e.g. (20, 20, 20)")
        if isinstance(self.outputs, bool) or not isinstance(self.outputs, int) or self.outputs < 1:
            raise ValueError(
                f"MLP: outputs={self.outputs!r} must be a positive whole number, usually the number of fields"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"MLP: activation={self.activation!r} is unknown{nearest(self.activation, ACTIVATIONS)}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "... e"]) -> Float[Array, "... outputs"]:
        dtype = jnp.zeros(()).dtype  # float64 if the caller enabled it; Flax's own default is always float32
        for i, width in enumerate((*self.hidden, self.outputs)):
            x = nn.Dense(width, param_dtype=dtype, kernel_init=nn.initializers.glorot_normal(), name=f"dense_{i}")(x)
            if i < len(self.hidden):
                x = ACTIVATIONS[self.activation](x)
        return x

    def layers(self, inputs: int) -> tuple[int, ...]:
        """All widths in the usual notation, ``(2, 20, 20, 20, 1)``, for ``inputs`` network inputs."""
        return (inputs, *self.hidden, self.outputs)


def count_parameters(params: Params) -> int:
    """The number of weights and biases."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
