"""Writers that never leave a partial file, and readers that are safe on files of unknown origin."""

import contextlib
import csv
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

#: The largest header that is parsed, in bytes. The library writes headers of a few kilobytes; parsed JSON takes up to
#: twenty times its size in memory.
MAX_HEADER_BYTES = 10_000_000
_LIBRARIES = ("kdpinn_jax", "jax", "jaxlib", "flax", "optax", "jaxopt", "numpy")


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file in the same folder that replaces ``path`` if the block succeeds and is deleted otherwise.

    A process killed at any moment leaves either the old file or the complete new one.

    Raises:
        OSError: the file cannot be written, or ``path`` is a folder or a device, which must not be replaced.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a regular file; choose another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it first")
    # The temporary name is short even if the final one is as long as the file system allows.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:16]}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def library_versions(*optional: str) -> dict[str, str]:
    """Versions of the libraries that a result depends on, and of those ``optional`` ones that are installed."""
    versions = {name: version(name) for name in _LIBRARIES}
    for name in optional:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata in the header of a safetensors file.

    Raises:
        OSError, ValueError, TypeError, KeyError, RecursionError, MemoryError: the file is not a valid safetensors file.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError("it does not begin with the length of a header, or the header is longer than 10 MB")
        return json.loads(file.read(length))["__metadata__"]


def read_safetensors(path: str | os.PathLike[str], check: Callable[[dict[str, str]], None]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file. ``check`` is called with the file's metadata before any tensor is read.

    Raises:
        OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError, MemoryError: the file is not a valid
            safetensors file, or ``check`` raised.
    """
    check(read_metadata(path))
    # The file is read, not mapped: if another process truncated a mapped file, this process would die of a signal.
    return safetensors.numpy.load(Path(path).read_bytes())


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a header line and one line per row, atomically. A column that a row lacks stays empty."""
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write strict JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(as_json(content) + "\n")


def as_json(content: Any) -> str:
    """Strict JSON: NaN and infinity become null."""

    def strict(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): strict(item) for name, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [strict(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(content), indent=2, allow_nan=False)
