"""``load_compiled``: an exported C source, compiled for this machine and called from Python with NumPy arrays."""

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
        inputs: d.
        outputs: m.
        dtype: float32 or float64, the type of points and values.
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
    """Compile ``NAME.c``, written by ``export_c``, for this machine and load it.

    Args:
        directory: the folder of ``NAME.h`` and ``NAME.c``.
        name: the export, if the folder holds several.
        dtype: float32 or float64.

    Returns:
        The functions. They take C-contiguous arrays of exactly this type without copying them, and raise ValueError for
        arrays of another type or shape.

    Raises:
        FileNotFoundError: the folder holds no such export.
        RuntimeError: no C compiler was found, or it failed. The environment variable ``CC`` names another one.
        ImportError: cffi is not installed.
        ValueError: the folder holds several exports and no name is given, or dtype is another type.
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
    inputs, outputs = (_macro(header, f"{name.upper()}_{size}", source) for size in ("INPUTS", "OUTPUTS"))
    ffi: Any = FFI()
    real = "float" if dtype == np.float32 else "double"
    ffi.cdef(
        f"void {name}_eval_batch(const {real} *z, {real} *u, size_t n);"
        f"void {name}_eval_jac(const {real} *z, {real} *u, {real} *jacobian);"
        f"int {name}_in_domain(const {real} *z);"
    )
    library = built(ffi, source, () if dtype == np.float32 else (f"-D{name.upper()}_DOUBLE",))
    return _bind(ffi, library, name, f"{real}[]", inputs, outputs, dtype)


def _source(directory: Path, name: str | None) -> Path:
    if name is not None:
        sources = [directory / f"{name}.c"] if (directory / f"{name}.c").is_file() else []
    else:
        sources = sorted(path for path in directory.glob("*.c") if path.with_suffix(".h").is_file())
    if not sources:
        raise FileNotFoundError(
            f"{directory} holds no {name or '*'}.c with its header; write them with kdpinn_jax.export_c"
        )
    if len(sources) > 1:
        raise ValueError(f"{directory} holds several exports; set name to one of {', '.join(p.stem for p in sources)}")
    return sources[0]


def _macro(header: str, macro: str, source: Path) -> int:
    """The value of a macro that the header defines as a whole number."""
    definition = re.search(rf"^#define {macro} (\d+)", header, re.MULTILINE)
    if not definition:
        raise ValueError(
            f"{source.with_suffix('.h')} does not define {macro}; expected a header written by kdpinn_jax.export_c"
        )
    return int(definition[1])


def built(ffi: Any, source: Path, definitions: Sequence[str]) -> Any:
    """Compile a C source for this machine and load it.

    Args:
        ffi: a ``cffi.FFI`` to which the functions of the source are declared.
        source: the path of the source.
        definitions: further options of the compiler, such as ``-DNAME``.

    Returns:
        The library, a ``cffi`` object.

    Raises:
        RuntimeError: no C compiler was found, or it failed.
    """
    requested = os.environ.get("CC")
    compiler = shlex.split(requested) if requested else [c for c in ("cc", "gcc", "clang") if shutil.which(c)][:1]
    if not compiler or not shutil.which(compiler[0]):
        missing = f"CC={requested} was not found" if requested else "cc, gcc and clang were not found"
        raise RuntimeError(
            f"no C compiler: {missing}; install gcc or clang, or name a compiler in the environment variable CC"
        )
    with tempfile.TemporaryDirectory() as folder:
        compiled, library = Path(folder) / "model.o", Path(folder) / "model.so"
        command = [*compiler, *_OPTIONS, *definitions, "-c", str(source), "-o", str(compiled)]
        native = subprocess.run([*command, _NATIVE], capture_output=True, text=True)
        if native.returncode:  # some compilers do not support the option
            _run(command)
        # The linker must not see -ffast-math: it would make the whole process flush small numbers to zero.
        _run([*compiler, "-shared", str(compiled), "-o", str(library), "-lm"])
        return ffi.dlopen(str(library))  # the library remains mapped after its file is deleted


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{command[0]} failed: {(result.stderr.strip().splitlines() or ['no message'])[0]}")


def _bind(ffi: Any, library: Any, name: str, array: str, inputs: int, outputs: int, dtype: np.dtype) -> CompiledModel:
    """The functions of a library as functions of NumPy arrays; ``array`` is their C type."""
    eval_batch, eval_jac, inside = (getattr(library, f"{name}_{f}") for f in ("eval_batch", "eval_jac", "in_domain"))
    from_buffer, empty = ffi.from_buffer, np.empty

    def check(z: np.ndarray) -> int:
        """The number of points. The check is fast, because it is part of calls that take a microsecond."""
        if type(z) is np.ndarray and z.dtype == dtype and z.ndim == 2 and z.shape[1] == inputs and z.flags.c_contiguous:
            return len(z)
        given = f"{z.dtype} of shape {z.shape}" if isinstance(z, np.ndarray) else type(z).__name__
        raise ValueError(
            f"points are {given}; expected a C-contiguous {dtype} array of shape (n, {inputs}): "
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
        u, slopes = empty((n, outputs), dtype), empty((n, outputs, inputs), dtype)
        for i in range(n):
            eval_jac(from_buffer(array, z[i]), from_buffer(array, u[i]), from_buffer(array, slopes[i]))
        return u, slopes

    def in_domain(z: np.ndarray) -> np.ndarray:
        return np.fromiter((inside(from_buffer(array, z[i])) for i in range(check(z))), bool, len(z))

    return CompiledModel(predict, jacobian, in_domain, inputs, outputs, dtype)
