"""A program as straight-line Python over NumPy, JAX or PyTorch, with points in the rows, as if written by hand."""

import importlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..lower import lower
from ..program import Program

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">"}
_INFIX |= {"ge": ">=", "and": "&", "or": "|", "xor": "^", "pow": "**"}
#: Operations that have another name in the library.
_NUMPY = {"acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan"}
_NUMPY |= {
    "atan2": "arctan2",
    "atanh": "arctanh",
    "max": "maximum",
    "min": "minimum",
    "not": "logical_not",
    "rem": "fmod",
}
_TORCH = {"logistic": "sigmoid", "not": "logical_not", "rem": "fmod", "rint": "round"}


def with_numpy(program: Program) -> Callable[[np.ndarray], np.ndarray]:
    """The function z (n, d) -> u (n, k) in float32, by NumPy and SciPy.

    Raises:
        AttributeError: NumPy and SciPy lack an operation of the program.
    """
    import scipy.special

    return _function(program, _numpy_operations(np, scipy.special), np.asarray)


def with_jax(program: Program) -> Callable[[Array], Array]:
    """The function z (n, d) -> u (n, k) in float32, not jitted: JAX dispatches each operation separately."""
    return _function(program, _numpy_operations(jnp, jax.scipy.special), jnp.asarray)


def _numpy_operations(np: Any, special: Any) -> Callable[[str], Callable[..., Any]]:
    """Operations by name, from NumPy and SciPy or from modules with their names."""
    composed = {
        "logistic": special.expit,
        "erf": special.erf,
        "erfc": special.erfc,
        "neg": operator.neg,
        "select_n": lambda condition, no, yes: np.where(condition, yes, no),
        "round": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
        "concatenate": np.concatenate,
        "full": lambda z, value: np.full((len(z), 1), value, z.dtype),
        "layer": lambda x, w, b: x @ w if b is None else x @ w + b,
    }
    return lambda name: composed.get(name) or getattr(np, _NUMPY.get(name, name))


def with_torch(program: Program) -> Callable[[Any], Any]:
    """The function z (n, d) -> u (n, k) of float32 tensors, by PyTorch.

    Raises:
        AttributeError: PyTorch lacks an operation of the program.
    """
    torch: Any = importlib.import_module("torch")  # optional, so that type checkers may not find it

    def of_numbers(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """The operation for arguments that may be Python numbers."""
        return lambda a, b: operation(*(torch.as_tensor(x, dtype=torch.float32) for x in (a, b)))

    composed = {
        "max": of_numbers(torch.maximum),
        "min": of_numbers(torch.minimum),
        "neg": operator.neg,
        "select_n": lambda condition, no, yes: torch.where(condition, yes, no),
        "round": lambda x: torch.sign(x) * torch.floor(torch.abs(x) + 0.5),
        "concatenate": torch.cat,
        "full": lambda z, value: torch.full((len(z), 1), value, dtype=z.dtype),
        "layer": lambda x, w, b: x @ w if b is None else torch.addmm(b, x, w),
    }
    return _function(program, lambda name: composed.get(name) or getattr(torch, _TORCH.get(name, name)), torch.tensor)


def _function(
    program: Program, operation: Callable[[str], Callable[..., Any]], as_array: Callable[[np.ndarray], Any]
) -> Callable[[Any], Any]:
    """The program as a Python function.

    Args:
        program: what the function computes.
        operation: the library's operations by name.
        as_array: converts a constant into an array of the library.
    """
    lines = _Lines()
    outputs = [lines.full(output) for output in lower(program, lines)]
    result = outputs[0] if len(outputs) == 1 else f"f_concatenate([{', '.join(outputs)}], 1)"
    body = "\n    ".join([*lines.text, f"return {result}"])
    namespace: dict[str, Any] = {f"f_{name}": operation(name) for name in lines.functions | {"concatenate"}}
    namespace |= {name: as_array(value) for name, value in lines.arrays.items()}
    namespace["__name__"] = __name__  # TorchScript looks up the function's module
    exec(f"def predict(z):\n    {body}\n", namespace)
    return namespace["predict"]


class _Lines:
    """A backend that collects assignments. Its values are names of local variables and, for constants, literals."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.functions: set[str] = set()
        self.variables: set[str] = {"z"}

    def assign(self, expression: str) -> str:
        name = f"t{len(self.text)}"
        self.text.append(f"{name} = {expression}")
        self.variables.add(name)
        return name

    def call(self, function: str, arguments: Sequence[str]) -> str:
        self.functions.add(function)
        return self.assign(f"f_{function}({', '.join(arguments)})")

    def array(self, values: np.ndarray) -> str:
        name = f"c{len(self.arrays)}"
        self.arrays[name] = values if values.dtype == bool else values.astype(np.float32)
        return name

    def full(self, number: str) -> str:
        """A number, possibly a literal, as a column (n, 1)."""
        return number if number in self.variables else self.call("full", ["z", number])

    def input(self) -> str:
        return "z"

    def constant(self, value: float | bool) -> str:
        return repr(value) if np.isfinite(value) else f"float('{value}')"

    def constants(self, values: tuple[float, ...]) -> str:
        return self.array(np.asarray(values)[None, :])

    def lane(self, vector: str, lane: int) -> str:
        return self.assign(f"{vector}[:, {lane}:{lane + 1}]")

    def stack(self, numbers: Sequence[str]) -> str:
        return self.call("concatenate", [f"[{', '.join(self.full(number) for number in numbers)}]", "1"])

    def dot(self, vector: str, matrix: np.ndarray, bias: np.ndarray | None) -> str:
        return self.call("layer", [vector, self.array(matrix), "None" if bias is None else self.array(bias[None, :])])

    def apply(self, operation: str, arguments: Sequence[str]) -> str:
        if operation in _INFIX:
            return self.assign(f"{arguments[0]} {_INFIX[operation]} {arguments[1]}")
        return self.call(operation, arguments)
