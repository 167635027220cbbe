"""A program as straight-line Python over NumPy, JAX or PyTorch, points in the rows: what one would write by hand."""

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
#: Names of operations that the libraries call by others.
_NUMPY = {"acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan"}
_NUMPY |= {"atan2": "arctan2", "atanh": "arctanh", "max": "maximum", "min": "minimum", "not": "logical_not"}
_TORCH = {"logistic": "sigmoid", "not": "logical_not", "rint": "round"}


def with_numpy(program: Program) -> Callable[[np.ndarray], np.ndarray]:
    """z (n, d) float32 -> u (n, k).

    Raises:
        AttributeError: NumPy and SciPy have no such operation.
    """
    import scipy.special

    return _written(program, _named(np, scipy.special), np.asarray)


def with_jax(program: Program) -> Callable[[Array], Array]:
    """z (n, d) float32 -> u (n, k): not jitted, so that JAX dispatches one operation after the other."""
    return _written(program, _named(jnp, jax.scipy.special), jnp.asarray)


def _named(np: Any, special: Any) -> Callable[[str], Any]:
    """Operations by name, from NumPy or what has its names."""
    other = {
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
    return lambda name: other.get(name) or getattr(np, _NUMPY.get(name, name))


def with_torch(program: Program) -> Callable[[Any], Any]:
    """z (n, d), a float32 tensor -> u (n, k).

    Raises:
        AttributeError: PyTorch has no such operation.
    """
    torch: Any = importlib.import_module("torch")  # a package that few have
    either = lambda of: lambda a, b: of(*(torch.as_tensor(x, dtype=torch.float32) for x in (a, b)))
    other = {
        "max": either(torch.maximum),
        "min": either(torch.minimum),
        "neg": operator.neg,
        "select_n": lambda condition, no, yes: torch.where(condition, yes, no),
        "round": lambda x: torch.sign(x) * torch.floor(torch.abs(x) + 0.5),
        "concatenate": torch.cat,
        "full": lambda z, value: torch.full((len(z), 1), value, dtype=z.dtype),
        "layer": lambda x, w, b: x @ w if b is None else torch.addmm(b, x, w),
    }
    return _written(program, lambda name: other.get(name) or getattr(torch, _TORCH.get(name, name)), torch.tensor)


def _written(program: Program, named: Callable[[str], Any], array: Callable[[np.ndarray], Any]) -> Callable[[Any], Any]:
    lines = _Lines()
    outputs = [lines.full(x) for x in lower(program, lines)]
    result = outputs[0] if len(outputs) == 1 else f"f_concatenate([{', '.join(outputs)}], 1)"
    body = "\n    ".join([*lines.text, f"return {result}"])
    names: dict[str, Any] = {f"f_{name}": named(name) for name in lines.functions | {"concatenate"}}
    names |= {name: array(value) for name, value in lines.arrays.items()}
    names["__name__"] = __name__  # of the function's module, which TorchScript asks for
    exec(f"def predict(z):\n    {body}\n", names)
    return names["predict"]


class _Lines:
    """Collects assignments; a value is a local variable's name, or a literal."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.functions: set[str] = set()
        self.variables: set[str] = {"z"}

    def assigned(self, expression: str) -> str:
        name = f"t{len(self.text)}"
        self.text.append(f"{name} = {expression}")
        self.variables.add(name)
        return name

    def called(self, function: str, arguments: Sequence[str]) -> str:
        self.functions.add(function)
        return self.assigned(f"f_{function}({', '.join(arguments)})")

    def held(self, array: np.ndarray) -> str:
        name = f"c{len(self.arrays)}"
        self.arrays[name] = array if array.dtype == bool else array.astype(np.float32)
        return name

    def full(self, number: str) -> str:
        return number if number in self.variables else self.called("full", ["z", number])

    def input(self) -> str:
        return "z"

    def constant(self, value: float | bool) -> str:
        return repr(value) if np.isfinite(value) else f"float('{value}')"

    def constants(self, values: tuple[float, ...]) -> str:
        return self.held(np.asarray(values)[None, :])

    def lane(self, vector: str, lane: int) -> str:
        return self.assigned(f"{vector}[:, {lane}:{lane + 1}]")

    def stack(self, numbers: Sequence[str]) -> str:
        return self.called("concatenate", [f"[{', '.join(self.full(x) for x in numbers)}]", "1"])

    def dot(self, vector: str, matrix: np.ndarray, bias: np.ndarray | None) -> str:
        return self.called("layer", [vector, self.held(matrix), "None" if bias is None else self.held(bias[None, :])])

    def apply(self, operation: str, arguments: Sequence[str]) -> str:
        if operation in _INFIX:
            return self.assigned(f"{arguments[0]} {_INFIX[operation]} {arguments[1]}")
        return self.called(operation, arguments)
