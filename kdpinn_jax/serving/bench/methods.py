"""The ways to predict that are compared, each from NumPy points to a finished result in float32."""

import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ...models.model import Model, network_field
from ..export import export_c, export_onnx
from ..export.compiled import load_compiled
from ..predict import cast, compile_predict, program_of
from . import _python

Call = Callable[[], Any]
#: A model and points (n, d) in float32 -> the call to be timed, everything compiled. One that cannot be had raises.
Method = Callable[[Model, np.ndarray], Call]


def _disable_jit(model: Model, z: np.ndarray) -> Call:
    op_by_op = _op_by_op(model, z)

    def call() -> Any:
        with jax.disable_jit():
            return op_by_op()

    return call


def _op_by_op(model: Model, z: np.ndarray) -> Call:
    # Not the model's own field: tracing its batch and Flax's modules anew takes ten milliseconds a call.
    predict, points = _python.with_jax(program_of(model)), jax.numpy.asarray(z)
    return lambda: predict(points).block_until_ready()


def _jit(model: Model, z: np.ndarray) -> Call:
    """What one writes first: ``jax.jit`` of the network applied to parameters and points."""
    model = cast(model, np.float32)

    @jax.jit
    def apply(params: Any, z: Any) -> Any:
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
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"z": z})[0]


def _numpy(model: Model, z: np.ndarray) -> Call:
    predict = _python.with_numpy(program_of(model))
    return lambda: predict(z)


def _torch(prepared: Callable[[Any, Any, Any], Callable[[Any], Any]]) -> Method:
    def method(model: Model, z: np.ndarray) -> Call:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(1)
        points = torch.from_numpy(z)
        with torch.inference_mode():
            predict = prepared(torch, _python.with_torch(program_of(model)), points)

        def call() -> Any:
            with torch.inference_mode():
                return predict(torch.from_numpy(z)).numpy()

        call()
        return call

    return method


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
#: What a method needs beyond this library.
NEEDS = {
    "C": "cffi",
    "ONNX Runtime": "onnxruntime",
    "PyTorch": "torch",
    "TorchScript": "torch",
    "torch.compile": "torch",
}


def missing(method: str) -> str | None:
    """The package that a method lacks, if it does."""
    package = NEEDS.get(method)
    return package if package and importlib.util.find_spec(package) is None else None
