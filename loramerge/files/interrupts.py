"""^C that waits until what must not be left half done is over."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def later(number: int) -> Iterator[None]:
    """Let a signal wait until the block is over; for a process that is begun in it, until that calls `at_once`."""
    with _noted(number):  # and not blocked alone: other threads take it still, and libraries unblock it
        if not hasattr(signal, "pthread_sigmask"):
            yield
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def at_once(number: int) -> None:
    """Take a signal that waited since before this process was begun, and those to come."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])


@contextmanager
def _noted(number: int) -> Iterator[None]:
    """Let a signal that comes do what it does when the block is over."""
    handler = signal.getsignal(number)
    if handler is None or current_thread() is not main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(number, lambda *_: came.append(number))
    try:
        yield
    finally:
        signal.signal(number, handler)
        if came:
            signal.raise_signal(number)
