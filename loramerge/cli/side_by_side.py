"""`run --jobs N`: recipes in several processes, what they say in the order of the recipes.

A process is begun once and runs recipe after recipe, so that libraries are loaded once in each. What one recipe makes
of another's is waited for; so is the first recipe of a base that was never read, which then knows its digest for all.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import psutil

from loramerge.cli.boundary import failure
from loramerge.cli.recorded import Said, begin, run_recorded
from loramerge.cli.run_one import Facts, not_started, was_interrupted
from loramerge.errors import LoramergeError
from loramerge.numerics.threads import cores

if TYPE_CHECKING:
    from typing_extensions import Self

    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.run_one import RunSettings

_MERGE = 1 << 30
"""Bytes that a merge takes at most; what draws takes the base in float32 as well."""
_SHARE = 0.8
"""Of the memory that is free, what recipes may take together."""


def side_by_side(
    found: Sequence[PlannedRecipe], settings: RunSettings, planning: Mapping[str, Any], jobs: int
) -> Iterator[Facts]:
    """What became of each recipe, in their order.

    After one that failed no other is begun, unless those that can be run are to go on; what runs is finished. ^C
    reaches every process, each of which leaves nothing half done.

    Args:
        found: The recipes and their plans.
        settings: The command's options.
        planning: What planning has to know of them.
        jobs: How many at once, as far as memory goes.
    """
    queue = _Queue(list(found), psutil.virtual_memory().available)
    with _Processes(jobs) as pool:
        running: dict[Future[tuple[Facts, Said]], int] = {}
        told = 0
        try:
            while True:
                while len(running) < jobs and (place := queue.next()) is not None:
                    running[pool.submit(found[place], settings, planning)] = place
                while told < len(found) and told in queue.done:
                    facts, said = queue.done[told]
                    _say(said)
                    yield facts
                    told += 1
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    place = running.pop(future)
                    queue.finish(place, _outcome(future, found[place], settings))
                    facts, _ = queue.done[place]
                    if "error" in facts and (not settings.keep_going or was_interrupted(facts)):
                        queue.stop()
        except KeyboardInterrupt:
            queue.stop()
            _interrupt()
            for future, place in running.items():
                queue.finish(place, _outcome(future, found[place], settings))
    for place in range(told, len(found)):
        facts, said = queue.done.get(place, (not_started(found[place]), ()))
        _say(said)
        yield facts


@dataclass
class _Queue:
    """Recipes that wait for a process.

    Attributes:
        found: All of them.
        memory: Bytes that they may take together.
        done: What became of those that were run, and what they said, by their places.
    """

    found: list[PlannedRecipe]
    memory: int
    done: dict[int, tuple[Facts, Said]] = field(default_factory=dict)
    _running: dict[int, int] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)
    _stopped: bool = False

    def next(self) -> int | None:
        """The place of the next recipe that can be begun now, which counts as running from now on."""
        for place, each in enumerate(self.found):
            if self._stopped or place in self._begun or self._has_to_wait(place, each):
                continue
            needed = _memory_of(each)
            if self._running and sum(self._running.values()) + needed > _SHARE * self.memory:
                return None  # those behind it must not keep it waiting for ever
            self._begun.add(place)
            self._running[place] = needed
            return place
        return None

    def finish(self, place: int, outcome: tuple[Facts, Said]) -> None:
        """Take note of what became of a recipe."""
        self.done[place] = outcome
        self._running.pop(place, None)

    def stop(self) -> None:
        """Begin no other."""
        self._stopped = True

    def _has_to_wait(self, place: int, each: PlannedRecipe) -> bool:
        before = self.found[:place]
        if each.waits_for is not None:
            return any(at not in self.done and other.given.path == each.waits_for for at, other in enumerate(before))
        base = _unread_base(each)
        return base is not None and any(_unread_base(self.found[at]) == base for at in self._running)


def _unread_base(each: PlannedRecipe) -> tuple[str | None, str | None] | None:
    """The base that nobody has read, if a run of the recipe reads it."""
    if each.plan is None or each.plan.lock is not None or not each.pending:
        return None
    base = each.plan.recipe.base
    return base.source, base.revision


def _memory_of(each: PlannedRecipe) -> int:
    recipe = each.given.recipe
    if recipe is None or recipe.preview is None:
        return _MERGE
    locked = each.plan.lock.sources.base if each.plan and each.plan.lock else None
    weights = sum(file.size for file in locked.files.values()) if locked else 0
    return _MERGE + 2 * weights


class _Processes:
    """Processes that share the cores, inside a `with`; all of them anew where one was ended.

    Args:
        jobs: How many.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._threads = str(max(1, cores() // jobs))

    def __enter__(self) -> Self:
        self._before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = self._threads  # read when libraries are loaded
        self._pool = self._made()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        os.environ.pop("OMP_NUM_THREADS")
        if self._before is not None:
            os.environ["OMP_NUM_THREADS"] = self._before

    def submit(
        self, each: PlannedRecipe, settings: RunSettings, planning: Mapping[str, Any]
    ) -> Future[tuple[Facts, Said]]:
        """Begin a recipe."""
        try:
            return self._pool.submit(run_recorded, each, settings, dict(planning))
        except BrokenProcessPool:
            self._pool = self._made()
            return self._pool.submit(run_recorded, each, settings, dict(planning))

    def _made(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._jobs, multiprocessing.get_context("spawn"), begin)


def _interrupt() -> None:
    """Pass ^C on; where it came from a terminal, everyone has it already."""
    for process in multiprocessing.active_children():
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGINT)


def _outcome(future: Future[tuple[Facts, Said]], each: PlannedRecipe, settings: RunSettings) -> tuple[Facts, Said]:
    try:
        return future.result()
    except BrokenProcessPool:
        error = LoramergeError(
            f"{each.given.path} was not finished: one of the processes was ended; there may be too little memory",
            hint="run it again, with fewer --jobs",
        )
        failed = failure(error, verbose=settings.verbose)
        said = [] if settings.as_json else [("err", f"error: {failed.message}\nhint: {failed.hint}\n")]
        return {"recipe": each.given.path, "name": each.given.name, "status": "failed", "error": failed.data}, said


def _say(said: Said) -> None:
    for stream, text in said:
        click.echo(text, nl=False, err=stream == "err")
