"""Memory of tensors that come and go: asking the system for it anew costs the clearing of every page."""

from __future__ import annotations

import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h, for glibc's mallopt
_KEPT = 128 << 20  # bytes that stay with the process when they are free at the end of its heap
_LARGEST = 32 << 20  # bytes of a block that can come from the heap; glibc allows no more


@cache
def keep_freed_memory() -> None:
    """Have the C library use freed memory again, where it is glibc; elsewhere nothing changes. Called once.

    By itself it gives most blocks of a tensor's size back to the system as soon as they are free, and half of a
    merge's page faults are for getting them again.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    change = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if change is not None:
        change(_MMAP_THRESHOLD, _LARGEST)
        change(_TRIM_THRESHOLD, _KEPT)
