"""^C that waits until what must not be left half done is over, and that is known to have come."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

_came = False


def noting() -> None:
    """From now on ^C is known to have come when it comes; who ignores it, or has a use of their own for it, does still.

    Libraries make errors of their own of a KeyboardInterrupt that reaches them.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _raised)


def note() -> bool:
    """Let ^C be known to have come; returns whether it is the first one."""
    global _came
    first, _came = not _came, True
    return first


def noted() -> bool:
    """Whether ^C is known to have come."""
    return _came


def _raised(_number: int, _frame: FrameType | None) -> None:
    note()
    raise KeyboardInterrupt


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
