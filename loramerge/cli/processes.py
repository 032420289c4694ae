"""`run --jobs N`: recipes in several processes of this machine.

A process is begun once and runs recipe after recipe, so that libraries are loaded once in each.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import psutil

from loramerge.cli.recorded import Told, work
from loramerge.cluster.spawned import spawned
from loramerge.errors import LoramergeError
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

    def wait(self) -> None:
        """Wait until one recipe at least is done, or its process ended."""
        wait([*self._running])

    def take(self) -> Sequence[tuple[int, Told | Exception | None]]:
        """What became of recipes, or that their processes were ended."""
        ready = wait([*self._running], 0)
        return [self._taken(connection) for connection in [*self._running] if connection in ready]

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
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when libraries are loaded
        try:
            self._process, self.connection = spawned(work, settings)
        finally:
            os.environ.pop("OMP_NUM_THREADS")
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before

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
