"""``load_compiled``: an exported C source, compiled here and called from Python with NumPy arrays."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import DTypeLike

_OPTIONS = ("-std=c99", "-O3", "-ffast-math", "-fPIC")
_NATIVE = "-march=native"


@dataclass(frozen=True)
class CompiledModel:
    """The functions of an exported model.

    Attributes:
        predict: z (n, d) -> u (n, m). Calling the object does the same.
        jacobian: z (n, d) -> (u (n, m), ∂u/∂z (n, m, d)).
        in_domain: z (n, d) -> (n,) of booleans.
        inputs, outputs, dtype: d, m, and float32 or float64, in which points are given and values returned.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    jacobian: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    in_domain: Callable[[np.ndarray], np.ndarray]
    inputs: int
    outputs: int
    dtype: np.dtype

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return self.predict(z)


def load_compiled(
    directory: str | os.PathLike[str], *, name: str | None = None, dtype: DTypeLike = np.float32
) -> CompiledModel:
    """Compile ``NAME.c`` of a folder made by ``export_c`` for this machine, and load it.

    Args:
        directory: where ``NAME.h`` and ``NAME.c`` are.
        name: which, if there are several.
        dtype: float32 or float64.

    Returns:
        ``CompiledModel``. Its functions take C-contiguous arrays of exactly this type, without a copy.

    Raises:
        FileNotFoundError: no such export. RuntimeError: no compiler, or it failed; ``CC`` names another one.
        ImportError: cffi is not installed. ValueError: several exports and no name, or another type. The functions
            raise ValueError for arrays of another type or shape.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype={dtype} is not supported; use float32 or float64")
    try:
        from cffi import FFI
    except ImportError:
        raise ImportError("load_compiled needs cffi, which is not installed: pip install 'kdpinn-jax[c]'") from None
    source = _source(Path(directory), name)
    name, header = source.stem, source.with_suffix(".h").read_text(encoding="utf-8")
    inputs, outputs = (_macro(header, f"{name.upper()}_{which}", source) for which in ("INPUTS", "OUTPUTS"))
    ffi: Any = FFI()
    real = "float" if dtype == np.float32 else "double"
    ffi.cdef(
        f"void {name}_eval_batch(const {real} *z, {real} *u, size_t n);"
        f"void {name}_eval_jac(const {real} *z, {real} *u, {real} *jacobian);"
        f"int {name}_in_domain(const {real} *z);"
    )
    library = built(ffi, source, () if dtype == np.float32 else (f"-D{name.upper()}_DOUBLE",))
    return _bound(ffi, library, name, f"{real}[]", inputs, outputs, dtype)


def _source(directory: Path, name: str | None) -> Path:
    if name is not None:
        found = [directory / f"{name}.c"] if (directory / f"{name}.c").is_file() else []
    else:
        found = sorted(path for path in directory.glob("*.c") if path.with_suffix(".h").is_file())
    if not found:
        raise FileNotFoundError(f"{directory}: no {name or '*'}.c with its header; make one by kdpinn_jax.export_c")
    if len(found) > 1:
        raise ValueError(f"{directory} holds several exports; give name= one of {', '.join(p.stem for p in found)}")
    return found[0]


def _macro(header: str, macro: str, source: Path) -> int:
    found = re.search(rf"^#define {macro} (\d+)", header, re.MULTILINE)
    if not found:
        raise ValueError(f"{source.with_suffix('.h')} does not define {macro}: not a header written by export_c")
    return int(found[1])


def built(ffi: Any, source: Path, definitions: Sequence[str]) -> Any:
    """The library of a C source, compiled for this machine and loaded; its functions are declared to ``ffi`` before."""
    named = os.environ.get("CC")
    compiler = shlex.split(named) if named else [c for c in ("cc", "gcc", "clang") if shutil.which(c)][:1]
    if not compiler or not shutil.which(compiler[0]):
        raise RuntimeError(
            f"no C compiler: {f'CC={named} is not there' if named else 'neither cc nor gcc nor clang is there'}; "
            "install gcc or clang, or name one in the environment variable CC"
        )
    with tempfile.TemporaryDirectory() as folder:
        compiled, library = Path(folder) / "model.o", Path(folder) / "model.so"
        compile_it = [*compiler, *_OPTIONS, *definitions, "-c", str(source), "-o", str(compiled)]
        native = subprocess.run([*compile_it, _NATIVE], capture_output=True, text=True)
        if native.returncode:  # a compiler that does not know this machine's name for itself
            _run(compile_it)
        # -ffast-math is not for the linker: there it would make the whole process flush small numbers to zero.
        _run([*compiler, "-shared", str(compiled), "-o", str(library), "-lm"])
        return ffi.dlopen(str(library))  # it stays mapped when its file has gone


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[0]}")


def _bound(ffi: Any, library: Any, name: str, array: str, inputs: int, outputs: int, dtype: np.dtype) -> CompiledModel:
    eval_batch, eval_jac, inside = (getattr(library, f"{name}_{f}") for f in ("eval_batch", "eval_jac", "in_domain"))
    from_buffer, empty = ffi.from_buffer, np.empty

    def check(z: np.ndarray) -> int:
        """Cheap where all is right: this is called in loops of a microsecond."""
        if type(z) is np.ndarray and z.dtype == dtype and z.ndim == 2 and z.shape[1] == inputs and z.flags.c_contiguous:
            return len(z)
        what = f"{z.dtype} of shape {z.shape}" if isinstance(z, np.ndarray) else type(z).__name__
        raise ValueError(
            f"points are {what}; expected a C-contiguous {dtype} array of shape (n, {inputs}): "
            f"np.ascontiguousarray(z, np.{dtype})"
        )

    def predict(z: np.ndarray) -> np.ndarray:
        n = check(z)
        u = empty((n, outputs), dtype)
        if n:
            eval_batch(from_buffer(array, z), from_buffer(array, u), n)
        return u

    def jacobian(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = check(z)
        u, j = empty((n, outputs), dtype), empty((n, outputs, inputs), dtype)
        for i in range(n):
            eval_jac(from_buffer(array, z[i]), from_buffer(array, u[i]), from_buffer(array, j[i]))
        return u, j

    def in_domain(z: np.ndarray) -> np.ndarray:
        return np.fromiter((inside(from_buffer(array, z[i])) for i in range(check(z))), bool, len(z))

    return CompiledModel(predict, jacobian, in_domain, inputs, outputs, dtype)
