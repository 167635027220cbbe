"""The methods of prediction that are compared, each from NumPy points to a complete result in float32."""

import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from ...base.types import Params
from ...models.model import Model, network_field
from ..export import export_c, export_onnx
from ..export.compiled import load_compiled
from ..predict import cast, compile_predict, program_of
from . import _python

#: Predicts and returns when the result is complete.
Call = Callable[[], np.ndarray | Array]
#: ``(model, points) -> call`` for points (n, d) in float32, with everything compiled. It raises if the method cannot be
#: used.
Method = Callable[[Model, np.ndarray], Call]


def _disable_jit(model: Model, z: np.ndarray) -> Call:
    op_by_op = _op_by_op(model, z)

    def call() -> np.ndarray | Array:
        with jax.disable_jit():
            return op_by_op()

    return call


def _op_by_op(model: Model, z: np.ndarray) -> Call:
    # The model's own field would take ten milliseconds per call to trace the batch and Flax's modules again.
    predict, points = _python.with_jax(program_of(model)), jax.numpy.asarray(z)
    return lambda: predict(points).block_until_ready()


def _jit(model: Model, z: np.ndarray) -> Call:
    """The most common way: ``jax.jit`` of the network, with parameters and points as arguments."""
    model = cast(model, np.float32)

    @jax.jit
    def apply(params: Params, z: Array) -> Array:
        return jax.vmap(network_field(model.problem, model.network, params, model.coefficients))(z)

    return lambda: np.asarray(apply(model.params, z))


def _compile_predict(model: Model, z: np.ndarray) -> Call:
    predict = compile_predict(model, sizes=(len(z),))
    return lambda: predict(z)


def _c(model: Model, z: np.ndarray) -> Call:
    with tempfile.TemporaryDirectory() as folder:
        export_c(model, folder, name="model")
        compiled = load_compiled(folder)
    return lambda: compiled.predict(z)


def _onnx_runtime(model: Model, z: np.ndarray) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        (path,) = export_onnx(model, folder, name="model")
        session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"z": z})[0]


def _numpy(model: Model, z: np.ndarray) -> Call:
    predict = _python.with_numpy(program_of(model))
    return lambda: predict(z)


def _torch(compiled: Callable[[Any, Any, Any], Callable[[Any], Any]]) -> Method:
    """A method of PyTorch; ``compiled(torch, predict, points)`` returns the function that is called."""

    def method(model: Model, z: np.ndarray) -> Call:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(1)
        points = torch.from_numpy(z)
        with torch.inference_mode():
            predict = compiled(torch, _python.with_torch(program_of(model)), points)

        def call() -> np.ndarray | Array:
            with torch.inference_mode():
                return predict(torch.from_numpy(z)).numpy()

        call()  # compiles
        return call

    return method


#: The methods by name.
METHODS: dict[str, Method] = {
    "jax.disable_jit": _disable_jit,
    "op by op": _op_by_op,
    "jax.jit": _jit,
    "compile_predict": _compile_predict,
    "C": _c,
    "ONNX Runtime": _onnx_runtime,
    "NumPy": _numpy,
    "PyTorch": _torch(lambda torch, predict, z: predict),
    "TorchScript": _torch(lambda torch, predict, z: torch.jit.trace(predict, z)),
    "torch.compile": _torch(lambda torch, predict, z: torch.compile(predict, dynamic=False)),
}
#: The optional package that a method needs.
NEEDS = {
    "C": "cffi",
    "ONNX Runtime": "onnxruntime",
    "PyTorch": "torch",
    "TorchScript": "torch",
    "torch.compile": "torch",
}


def missing(method: str) -> str | None:
    """The package that a method needs and that is not installed, or None."""
    package = NEEDS.get(method)
    return package if package and importlib.util.find_spec(package) is None else None
