"""A lock that gives a folder one writer; the operating system releases it if the process dies."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: folders are not locked
    fcntl = None

#: The name of the locked file, which exists as long as its writer holds the folder.
LOCK = ".lock"


@contextlib.contextmanager
def only_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a folder as its only writer during the block.

    Args:
        folder: created if necessary.

    Raises:
        OSError: the folder cannot be created or is not writable.
        RuntimeError: another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = _lock(folder / LOCK)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        # The file is deleted while it is still locked: a process that opened it before sees that it is gone, and
        # creates another.
        (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path) -> int:
    """Create and lock a file; return its open descriptor."""
    assert fcntl is not None
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except BlockingIOError:
            holder = os.read(handle, 20).decode(errors="replace").strip()
            os.close(handle)
            raise RuntimeError(
                f"{path.parent} is being written by another run{f' (process {holder})' if holder else ''}; "
                "wait for it, or choose another folder"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder deleted it between our two calls
