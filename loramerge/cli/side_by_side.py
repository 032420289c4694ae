"""`run --jobs N`: recipes in several processes, what they say in the order of the recipes.

A process is begun once and runs recipe after recipe, so that libraries are loaded once in each. What one recipe makes
of another's is waited for; so is the first recipe of a base that was never read, which then knows its digest for all.
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

import click
import psutil

from loramerge.cli.recipe_queue import RecipeQueue
from loramerge.cli.recorded import Said, failed_recorded, later, run_recorded, work
from loramerge.cli.run_one import Facts, not_started, was_interrupted
from loramerge.errors import LoramergeError
from loramerge.numerics.threads import cores

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.run_one import RunSettings


def side_by_side(found: Sequence[PlannedRecipe], settings: RunSettings, jobs: int) -> Iterator[Facts]:
    """What became of each recipe, in their order.

    After one that failed no other is begun, unless those that can be run are to go on; what runs is finished. ^C
    reaches every process, each of which leaves nothing half done.

    Args:
        found: The recipes and their plans.
        settings: The command's options.
        jobs: How many at once, as far as memory goes.
    """
    queue = RecipeQueue(list(found), psutil.virtual_memory().available)
    together = _Together(found, queue, settings, jobs)
    told = 0
    try:
        while together.go_on():
            while told in queue.done:
                facts, said = queue.done[told]
                _say(said)
                yield facts
                told += 1
    finally:
        together.end()
    for place in range(told, len(found)):
        facts, said = queue.done.get(place) or (not_started(found[place]), ())
        _say(said)
        yield facts


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


class _Together:
    """The processes, and which recipe each of them has.

    Args:
        found: The recipes and their plans.
        queue: Says which is next, and keeps what came of each.
        settings: The command's options.
        jobs: How many at once.
    """

    def __init__(self, found: Sequence[PlannedRecipe], queue: RecipeQueue, settings: RunSettings, jobs: int) -> None:
        self._found, self._queue, self._settings, self._jobs = found, queue, settings, jobs
        self._free: list[_Process] = []
        self._running: dict[Connection, tuple[_Process, int]] = {}
        self._interrupted = False

    def go_on(self) -> bool:
        """Begin what can be begun, and wait for what is done next; False where nothing is left to wait for."""
        try:
            self._begin()
            if not self._running:
                return self._ended()
            for connection in _ready([*self._running]):
                self._take(connection)
        except KeyboardInterrupt:
            if self._interrupted:  # a second time: nobody is waited for
                raise
            self._stop()
        return True

    def end(self) -> None:
        """Let all of them go."""
        for process in (*self._free, *(process for process, _ in self._running.values())):
            process.end()

    def _begin(self) -> None:
        while len(self._running) < self._jobs and (place := self._queue.next()) is not None:
            each = self._found[place]
            has_work = each.failure is None and (each.pending or self._settings.remakes)
            if not has_work:  # to tell that takes no process
                self._finish(place, run_recorded(each, self._settings))
                continue
            process = self._free.pop() if self._free else _Process(self._settings, max(1, cores() // self._jobs))
            self._running[process.connection] = process, place
            with suppress(OSError):  # one that was ended meanwhile is found out when it is waited for
                process.connection.send(each)

    def _take(self, connection: Connection) -> None:
        process, place = self._running.pop(connection)
        try:
            outcome = connection.recv()
            self._free.append(process)
        except (EOFError, OSError):
            process.end()
            outcome = self._lost(self._found[place])
        self._finish(place, outcome)

    def _finish(self, place: int, outcome: tuple[Facts, Said]) -> None:
        facts, _ = outcome
        self._queue.finish(place, outcome)
        if was_interrupted(facts) and not self._interrupted:
            self._stop()
        elif "error" in facts and not self._settings.keep_going:
            self._queue.stop()

    def _lost(self, each: PlannedRecipe) -> tuple[Facts, Said]:
        error: BaseException = LoramergeError(
            f"{each.given.path} was not finished: its process was ended; there may be too little memory",
            hint="run it again, with fewer --jobs",
        )
        return failed_recorded(each, KeyboardInterrupt() if self._interrupted else error, self._settings)

    def _stop(self) -> None:
        """Begin no other, and let those that run know."""
        self._interrupted = True
        self._queue.stop()
        for process, _ in self._running.values():
            process.interrupt()

    def _ended(self) -> bool:
        """Nothing runs. A ^C that found nothing to end is told with the first recipe that had no turn."""
        left = [place for place in range(len(self._found)) if place not in self._queue.done]
        if self._interrupted and left and not any(was_interrupted(facts) for facts, _ in self._queue.done.values()):
            outcome = failed_recorded(self._found[left[0]], KeyboardInterrupt(), self._settings)
            self._queue.finish(left[0], outcome)
        return False


def _ready(connections: list[Connection]) -> list[Connection]:
    """Wait for one at least."""
    ready = wait(connections)
    return [each for each in connections if each in ready]


def _say(said: Said) -> None:
    for stream, text in said:
        click.echo(text, nl=False, err=stream == "err")
