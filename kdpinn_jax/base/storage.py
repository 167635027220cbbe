"""Files that a dying process leaves whole, and that harm nobody who reads them."""

import contextlib
import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

#: A header is a few kilobytes, and its JSON takes up to twenty times its bytes in memory.
LONGEST_HEADER = 10_000_000
_LIBRARIES = ("kdpinn_jax", "jax", "jaxlib", "flax", "optax", "jaxopt", "numpy")


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its name when the block ends well and vanishes when it does not: a
    process killed at any moment leaves the old file or the new one, never half of one.

    Raises:
        OSError: it cannot be written, or is a folder or a device, which no file may take the place of.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a regular file; name another one")
    # Its name is short whatever the final one, which may be as long as the file system allows.
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


def library_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {name: version(name) for name in _LIBRARIES}


def read_safetensors(path: str | os.PathLike[str], check: Callable[[dict[str, str]], None]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file whose metadata pass ``check``, which is asked before they are read.

    Raises:
        OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError, MemoryError: it is none.
    """
    # Read, not mapped: a mapped file that another process cuts short would end this one by a signal.
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        check(json.loads(file.read(length))["__metadata__"])
        file.seek(0)
        return safetensors.numpy.load(file.read())


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """A line of names and a line a row, whole or not at all; a cell that a row lacks is empty."""
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
