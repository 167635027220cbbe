"""A guard against forked processes, in which JAX waits forever for threads that a fork does not copy."""

import os

_users: list[int] = []


def check_not_forked() -> None:
    """Record the process in which JAX runs first, and refuse to run in a process forked from it.

    Raises:
        RuntimeError: this process was forked from one in which JAX has run.
    """
    if not _users:
        _users.append(os.getpid())
    elif _users[0] != os.getpid():
        raise RuntimeError(
            "this process was forked from one in which JAX has run, and would wait forever; start workers by "
            "multiprocessing.get_context('spawn'), or with ProcessPoolExecutor(mp_context=…) of that context"
        )
