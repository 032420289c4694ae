"""`run --jobs N`: recipes in several processes of this machine.

A process is begun once and runs recipe after recipe, so that libraries are loaded once in each.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import psutil

from loramerge.cli.recorded import Told, work
from loramerge.errors import LoramergeError
from loramerge.files.interrupts import later
from loramerge.numerics.threads import cores

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.run_one import RunSettings


class ProcessCrew:
    """Several processes, each begun when there is something for it to do.

    Args:
        settings: The command's options.
        jobs: How many at once.

    Attributes:
        memory: Bytes that recipes may take together.
    """

    def __init__(self, settings: RunSettings, jobs: int) -> None:
        self._settings, self._jobs = settings, jobs
        self.memory = psutil.virtual_memory().available
        self._idle: list[_Process] = []
        self._running: dict[Connection, tuple[_Process, int, PlannedRecipe]] = {}

    @property
    def free(self) -> bool:
        """Whether fewer recipes run than may."""
        return len(self._running) < self._jobs

    @property
    def busy(self) -> bool:
        """Whether one runs."""
        return bool(self._running)

    def give(self, place: int, each: PlannedRecipe) -> None:
        """Let a process run a recipe."""
        process = self._idle.pop() if self._idle else _Process(self._settings, max(1, cores() // self._jobs))
        self._running[process.connection] = process, place, each
        with suppress(OSError):  # one that was ended meanwhile is found out when it is waited for
            process.connection.send(each)

    def take(self) -> Sequence[tuple[int, Told | Exception | None]]:
        """Wait for one recipe at least; what became of it, or that its process was ended."""
        return [self._taken(connection) for connection in _ready([*self._running])]

    def recall(self) -> None:
        """Nothing: every recipe was begun when it was given."""

    def interrupt(self) -> None:
        """Pass ^C on to all that are at work."""
        for process, *_ in self._running.values():
            process.interrupt()

    def end(self) -> None:
        """Let all of them go; what is at work is ended."""
        for process in (*self._idle, *(process for process, *_ in self._running.values())):
            process.end()

    def _taken(self, connection: Connection) -> tuple[int, Told | Exception]:
        process, place, each = self._running.pop(connection)
        try:
            told: Told = connection.recv()
        except (EOFError, OSError):
            process.end()
            return place, LoramergeError(
                f"{each.given.path} was not finished: its process was ended; there may be too little memory",
                hint="run it again, with fewer --jobs",
            )
        self._idle.append(process)
        return place, told


class _Process:
    """One that runs recipe after recipe.

    Args:
        settings: The command's options.
        threads: How many it computes on.
    """

    def __init__(self, settings: RunSettings, threads: int) -> None:
        self.connection, there = multiprocessing.get_context("spawn").Pipe()
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when libraries are loaded
        self._process = multiprocessing.get_context("spawn").Process(target=work, args=(there, settings), daemon=True)
        if os.name == "posix":
            resource_tracker.ensure_running()  # which it would else do inside, and end what waits there
        try:
            with later(signal.SIGINT):  # which the process takes when its libraries are loaded
                self._process.start()
        finally:
            os.environ.pop("OMP_NUM_THREADS")
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before
        there.close()  # so that its end shows here

    def interrupt(self) -> None:
        """Pass ^C on; where it came from a terminal, the process has it already."""
        if self._process.pid is not None and self._process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    def end(self) -> None:
        """Let it go; what is at work is ended."""
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _ready(connections: list[Connection]) -> Iterator[Connection]:
    """Wait for one at least."""
    ready = wait(connections)
    return (each for each in connections if each in ready)
