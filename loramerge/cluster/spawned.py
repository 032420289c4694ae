"""A process beside this one. It is begun anew and not forked: threads of torch do not outlive a fork."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from loramerge.files.interrupts import later

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess


def spawned(work: Callable[..., None], *given: Any) -> tuple[SpawnProcess, Connection]:
    """Begin a process. ^C waits in it until it calls `at_once`: what loads libraries must not be interrupted.

    Args:
        work: What it does; it gets its end of a connection first.
        given: What it gets besides.

    Returns:
        The process and the other end, which shows when the process has ended.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, *given), daemon=True)
    if os.name == "posix":
        resource_tracker.ensure_running()  # which `start` would else do inside, and end what waits there
    with later(signal.SIGINT):
        process.start()
        there.close()  # so that its end shows here
    return process, here
