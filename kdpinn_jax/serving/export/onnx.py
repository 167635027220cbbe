"""``export_onnx``: a model as an ONNX graph in float32, with points in the rows."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...models.metrics import Metrics
from ...models.model import Model
from ..lower import lower
from ..predict import program_of
from ._describe import describe, identifier, metadata, write_all

#: The operator set of June 2022, which ONNX Runtime reads since its release 1.12, and its version of the file format.
OPSET, IR_VERSION = 17, 8
#: Operations that are one operator of ONNX.
_NAMES = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "and": "And", "asin": "Asin", "asinh": "Asinh",
    "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "div": "Div", "eq": "Equal",
    "erf": "Erf", "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual",
    "log": "Log", "logistic": "Sigmoid", "lt": "Less", "max": "Max", "min": "Min", "mul": "Mul", "neg": "Neg",
    "not": "Not", "or": "Or", "pow": "Pow", "rint": "Round", "sign": "Sign", "sin": "Sin", "sinh": "Sinh",
    "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan", "tanh": "Tanh", "xor": "Xor",
}  # fmt: skip


def export_onnx(
    model: Model,
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    metrics: Metrics | None = None,
    batch: int | None = None,
) -> tuple[Path, ...]:
    """Write ``NAME.onnx``: the model in float32 with input ``z`` (n, d) and output ``u`` (n, m).

    The graph includes embedding, scaling and ansatz. Rows of points that contain NaN give rows of NaN. If an error is
    raised, no file is written.

    Args:
        model: as in ``export_c``.
        directory: the output folder; created if necessary.
        name: the name of the file and of the graph; default the problem's name.
        metrics: the errors from ``evaluate``, which are stored in the file's metadata.
        batch: the number of points n, for hosts that require fixed shapes; by default, any n is accepted.

    Returns:
        A tuple with the path.

    Raises:
        ImportError: onnx is not installed.
        UnsupportedPrimitive: as in ``export_c``.
        ValueError: as in ``export_c``, or batch is not a whole number of at least 1.
        OSError: as in ``export_c``.
    """
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise ValueError(
            f"batch={batch!r} is not a number of points; use a whole number of at least 1, or None for any number"
        )
    try:
        import onnx
    except ImportError:
        raise ImportError("export_onnx needs onnx, which is not installed: pip install 'kdpinn-jax[onnx]'") from None
    name, problem = identifier(model, name), model.problem
    program = program_of(model)
    graph = _Graph(batch)
    graph.nan_where_z_is(graph.stack(lower(program, graph)), output="u")
    title, _ = describe(model, metrics)
    points, values = (
        onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, [batch or "n", size])
        for tensor, size in (("z", len(problem.axes)), ("u", len(problem.fields)))
    )
    onnx_model = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, name, [points], [values], graph.initializers),
        producer_name="kdpinn-jax",
        doc_string=title,
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )
    properties = metadata(model, metrics)
    onnx.helper.set_model_props(
        onnx_model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in properties.items()}
    )
    onnx.checker.check_model(onnx_model, full_check=True)
    return write_all(directory, {f"{name}.onnx": onnx_model.SerializeToString(deterministic=True)})


class _Graph:
    """A backend that collects the nodes of an ONNX graph.

    Its values are the names of tensors. A number has shape (n, 1), or is a scalar; a vector has shape (n, k) or (1, k).

    Args:
        batch: n, or None if it is not known.
    """

    def __init__(self, batch: int | None) -> None:
        self.batch = batch
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.constant_names: dict[bytes, str] = {}
        self.scalars: dict[str, np.ndarray] = {}

    def node(self, operator: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        import onnx

        output = output or f"t{len(self.nodes)}"
        # ONNX Runtime 1.20 derives the names of fused nodes from the names of these, and refuses two without a name.
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def initializer(self, array: np.ndarray) -> str:
        import onnx

        key = f"{array.dtype} {array.shape}".encode() + array.tobytes()
        if key not in self.constant_names:
            self.constant_names[key] = f"c{len(self.constant_names)}"
            self.initializers.append(onnx.numpy_helper.from_array(array, self.constant_names[key]))
        return self.constant_names[key]

    def full(self, number: str) -> str:
        """A number, possibly a constant, as a column (n, 1)."""
        if number not in self.scalars:
            return number
        if self.batch:
            return self.initializer(np.full((self.batch, 1), self.scalars[number]))
        zero, one = (self.initializer(np.asarray([i])) for i in (0, 1))
        count = self.node("Slice", [self.node("Shape", ["z"]), zero, one])
        return self.node("Expand", [number, self.node("Concat", [count, one], axis=0)])

    def nan_where_z_is(self, values: str, *, output: str) -> str:
        """The values, and NaN in every row where z contains NaN, which the tanh of some runtimes does not pass on."""
        total = self.node("ReduceSum", ["z", self.initializer(np.asarray([1]))])
        return self.node("Where", [self.node("Equal", [total, total]), values, self.constant(np.nan)], output=output)

    def input(self) -> str:
        return "z"

    def constant(self, value: float | bool) -> str:
        scalar = np.asarray(value, bool if isinstance(value, bool) else np.float32)
        name = self.initializer(scalar)
        self.scalars[name] = scalar
        return name

    def constants(self, values: tuple[float, ...]) -> str:
        array = np.asarray(values)
        return self.initializer((array if array.dtype == bool else array.astype(np.float32))[None, :])

    def lane(self, vector: str, lane: int) -> str:
        # Gather would be shorter, but OpenCV 4 refuses it for a single point.
        return self.node("Slice", [vector, *(self.initializer(np.asarray([i])) for i in (lane, lane + 1, 1))])

    def stack(self, numbers: Sequence[str]) -> str:
        return self.node("Concat", [self.full(number) for number in numbers], axis=1)

    def dot(self, vector: str, matrix: np.ndarray, bias: np.ndarray | None) -> str:
        constants = [self.initializer(a.astype(np.float32)) for a in (matrix, bias) if a is not None]
        return self.node("Gemm", [vector, *constants])

    def apply(self, operation: str, arguments: Sequence[str]) -> str:
        if operation in _NAMES:
            return self.node(_NAMES[operation], arguments)
        return getattr(self, f"_{operation}")(*arguments)

    # Operations that ONNX lacks.

    def _select_n(self, condition: str, where_false: str, where_true: str) -> str:
        return self.node("Where", [condition, where_true, where_false])

    def _ne(self, x: str, y: str) -> str:
        return self.node("Not", [self.node("Equal", [x, y])])

    def _rem(self, x: str, y: str) -> str:
        return self.node("Mod", [x, y], fmod=1)

    def _exp2(self, x: str) -> str:
        return self.node("Pow", [self.constant(2.0), x])

    def _round(self, x: str) -> str:
        away = self.node("Floor", [self.node("Add", [self.node("Abs", [x]), self.constant(0.5)])])
        return self.node("Mul", [self.node("Sign", [x]), away])

    def _cbrt(self, x: str) -> str:
        root = self.node("Pow", [self.node("Abs", [x]), self.constant(1 / 3)])
        return self.node("Mul", [self.node("Sign", [x]), root])

    def _erfc(self, x: str) -> str:
        return self.node("Sub", [self.constant(1.0), self.node("Erf", [x])])

    def _log1p(self, x: str) -> str:
        """log(1 + x), corrected for the rounding of 1 + x (Kahan)."""
        u = self.node("Add", [self.constant(1.0), x])
        rounded = self.node("Sub", [u, self.constant(1.0)])
        corrected = self.node("Div", [self.node("Mul", [self.node("Log", [u]), x]), rounded])
        return self._where_equal(u, 1.0, x, self._where_infinite(x, x, corrected))

    def _expm1(self, x: str) -> str:
        """eˣ − 1, corrected for the rounding of eˣ (Kahan)."""
        u = self.node("Exp", [x])
        rounded = self.node("Sub", [u, self.constant(1.0)])
        corrected = self.node("Div", [self.node("Mul", [rounded, x]), self.node("Log", [u])])
        large = self.node("Greater", [self.node("Abs", [x]), self.constant(1.0)])
        return self._where_equal(u, 1.0, x, self.node("Where", [large, rounded, corrected]))

    def _atan2(self, y: str, x: str) -> str:
        """The angle from the arctangent of y/x, or of x/y if that is smaller in magnitude."""
        sizes = [self.node("Abs", [a]) for a in (y, x)]
        steep = self.node("Greater", sizes)
        arctangent = lambda a, b: self.node("Atan", [self.node("Div", [a, b])])
        sign = self.node("Where", [self.node("Less", [y, self.constant(0.0)]), *map(self.constant, (-1.0, 1.0))])
        from_axis = self.node("Sub", [self.node("Mul", [sign, self.constant(np.pi / 2)]), arctangent(x, y)])
        negative = self.node("Less", [x, self.constant(0.0)])
        shift = self.node("Where", [negative, self.node("Mul", [sign, self.constant(np.pi)]), self.constant(0.0)])
        angle = self.node("Where", [steep, from_axis, self.node("Add", [arctangent(y, x), shift])])
        origin = self.node("Equal", [self.node("Add", sizes), self.constant(0.0)])
        return self.node("Where", [origin, self.constant(0.0), angle])

    def _where_equal(self, x: str, value: float, chosen: str, other: str) -> str:
        return self.node("Where", [self.node("Equal", [x, self.constant(value)]), chosen, other])

    def _where_infinite(self, x: str, chosen: str, other: str) -> str:
        return self.node("Where", [self.node("IsInf", [x]), chosen, other])
