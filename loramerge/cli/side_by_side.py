"""Recipes side by side, what they say in the order of the recipes.

^C comes while something is waited for, and never between what is done and that it is known.

What one recipe makes of another's is waited for; so is the first recipe of a base that was never read, which then
knows its digest for all.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from loramerge.cli.recipe_queue import RecipeQueue
from loramerge.cli.recorded import Said, Told, failed_recorded, run_recorded
from loramerge.cli.run_one import Facts, not_started, was_interrupted
from loramerge.files.interrupts import later

if TYPE_CHECKING:
    from loramerge.cli.crew import Crew
    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.run_one import RunSettings


def side_by_side(found: Sequence[PlannedRecipe], settings: RunSettings, crew: Crew) -> Iterator[Facts]:
    """What became of each recipe, in their order.

    After one that failed no other is begun, unless those that can be run are to go on; what runs is finished. ^C
    reaches all that run, each of which leaves nothing half done.

    Args:
        found: The recipes and their plans.
        settings: The command's options.
        crew: Runs them; it is let go in the end.
    """
    queue = RecipeQueue(list(found), crew.memory)
    together = _Together(found, queue, settings, crew)
    told = 0
    try:
        while together.go_on():
            while told in queue.done:
                facts, said = queue.done[told]
                _say(said)
                yield facts
                told += 1
    finally:
        crew.end()
    for place in range(told, len(found)):
        facts, said = queue.done.get(place) or (not_started(found[place]), ())
        _say(said)
        yield facts


class _Together:
    """Recipes that run, and what is done when one ends.

    Args:
        found: The recipes and their plans.
        queue: Says which is next, and keeps what came of each.
        settings: The command's options.
        crew: Runs them.
    """

    def __init__(self, found: Sequence[PlannedRecipe], queue: RecipeQueue, settings: RunSettings, crew: Crew) -> None:
        self._found, self._queue, self._settings, self._crew = found, queue, settings, crew
        self._interrupted = False

    def go_on(self) -> bool:
        """Begin what can be begun, and wait for what is done next; False where nothing is left to wait for."""
        try:
            self._begin()
            if not self._crew.busy:
                return self._ended()
            self._crew.wait()
            with later(signal.SIGINT):
                for place, came in self._crew.take():
                    self._take(place, came)
        except KeyboardInterrupt:
            if self._interrupted:  # a second time: nobody is waited for
                raise
            self._stop()
        return True

    def _begin(self) -> None:
        while self._crew.free:
            with later(signal.SIGINT):
                if (place := self._queue.next()) is None:
                    return
                each = self._found[place]
                if each.has_work(remakes=self._settings.remakes):
                    self._crew.give(place, each)
                else:  # to tell that takes nobody else
                    self._finish(place, run_recorded(each, self._settings))

    def _take(self, place: int, came: Told | Exception | None) -> None:
        if isinstance(came, Exception):
            error: BaseException = KeyboardInterrupt() if self._interrupted else came
            self._finish(place, failed_recorded(self._found[place], error, self._settings))
        elif came is None:
            self._queue.give_up(place)
        else:
            self._finish(place, came)

    def _finish(self, place: int, told: Told) -> None:
        facts, _ = told
        self._queue.finish(place, told)
        if was_interrupted(facts) and not self._interrupted:
            self._stop()
        elif "error" in facts and not self._settings.keep_going:
            self._queue.stop()
            self._crew.recall()

    def _stop(self) -> None:
        """Begin no other, and let those that run know."""
        self._interrupted = True
        self._queue.stop()
        self._crew.recall()
        self._crew.interrupt()

    def _ended(self) -> bool:
        """Nothing runs. A ^C that found nothing to end is told with the first recipe that had no turn."""
        left = [place for place in range(len(self._found)) if place not in self._queue.done]
        if self._interrupted and left and not any(was_interrupted(facts) for facts, _ in self._queue.done.values()):
            told = failed_recorded(self._found[left[0]], KeyboardInterrupt(), self._settings)
            self._queue.finish(left[0], told)
        return False


def _say(said: Said) -> None:
    for stream, text in said:
        click.echo(text, nl=False, err=stream == "err")
