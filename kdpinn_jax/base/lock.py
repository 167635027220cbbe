"""One writer a folder: a lock that the operating system takes back when its process dies."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing guards there
    fcntl = None

#: The file that is locked; it is there while a writer is.
LOCK = ".lock"


@contextlib.contextmanager
def only_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the folder, which is made if need be, as its only writer.

    Raises:
        OSError: the folder cannot be made or written into.
        RuntimeError: another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = _taken(folder / LOCK)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        # Unlinked while it is still locked: whoever waits at this file sees that it is gone, and makes another.
        (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)


def _taken(path: Path) -> int:
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
                "wait for it, or name another folder"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder deleted it between our two calls
