"""Ctrl-C during a training: noted at once, obeyed where a training can stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupt:
    """Whether Ctrl-C was pressed."""

    asked = False

    def __call__(self, *_: Any) -> None:
        """The signal's handler. Whoever asks a second time does not want to wait."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def noted_interrupt() -> Iterator[Interrupt]:
    """Let the caller decide where Ctrl-C, or SIGTERM where it means the same, takes effect.

    A ``KeyboardInterrupt`` comes wherever Python is. While JAX traces and compiles that may be in a callback or a
    finaliser, where Python drops it and the training goes on, or inside a compiler that then crashes at exit. Handlers
    of the caller's own are left alone, and so is every thread but the main one, which gets no signals.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    default = signal.default_int_handler
    usual = [which for which in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(which) is default]
    for which in usual:
        signal.signal(which, interrupt)
    try:
        yield interrupt
    finally:
        for which in usual:
            signal.signal(which, default)
