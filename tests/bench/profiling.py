"""Where our side spends its time."""

from __future__ import annotations

import cProfile
import pstats
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LINES = 12


@contextmanager
def profiled(title: str) -> Iterator[None]:
    """Print the functions that take most of the time inside a `with`, on standard error; workers are counted."""
    profiles = [cProfile.Profile()]

    def begin(*_: object) -> None:
        worker = cProfile.Profile()
        worker.enable()
        profiles.append(worker)

    if sys.version_info < (3, 12):  # later ones watch all threads from one
        threading.setprofile(begin)
    profiles[0].enable()
    try:
        yield
    finally:
        profiles[0].disable()
        threading.setprofile(None)  # type: ignore[arg-type]  # what the documentation asks for
    statistics = pstats.Stats(*profiles, stream=sys.stderr)
    print(f"\n{title}", file=sys.stderr)
    statistics.strip_dirs().sort_stats("tottime").print_stats(LINES)
