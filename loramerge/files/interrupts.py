"""^C that waits until what must not be left half done is over."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def later(number: int) -> Iterator[None]:
    """Let a signal wait until the block is over; also for a process that is begun in it, until one of its own ends."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before - {number})
