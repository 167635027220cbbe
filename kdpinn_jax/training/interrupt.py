"""Ctrl-C during a training: recorded at once, and handled where a training can stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupt:
    """Whether Ctrl-C was pressed."""

    requested = False

    def __call__(self, *_: Any) -> None:
        """The signal handler. A second Ctrl-C takes effect immediately."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Let the caller choose where Ctrl-C, or SIGTERM with the same handler, takes effect.

    Python raises ``KeyboardInterrupt`` between any two instructions. While JAX traces and compiles, that may be in a
    callback or a finaliser, where Python drops the exception and the training continues, or inside a compiler that then
    crashes at exit. Custom signal handlers are left alone, and so are all threads but the main one, which do not
    receive signals.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    default = signal.default_int_handler
    replaced = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is default]
    for number in replaced:
        signal.signal(number, interrupt)
    try:
        yield interrupt
    finally:
        for number in replaced:
            signal.signal(number, default)
