"""Recipes that wait for their turn: which can be begun now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loramerge.lock.needed_memory import needed_memory

if TYPE_CHECKING:
    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.recorded import Told

_SHARE = 0.8
"""Of the memory that is free, what recipes may take together."""


@dataclass
class RecipeQueue:
    """Recipes that wait for their turn.

    Attributes:
        found: All of them.
        memory: Bytes that they may take together; None where that is nobody's business here.
        done: What became of those that were run, and what they said, by their places.
    """

    found: list[PlannedRecipe]
    memory: int | None
    done: dict[int, Told] = field(default_factory=dict)
    _running: dict[int, int] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)
    _stopped: bool = False

    def next(self) -> int | None:
        """The place of the next recipe that can be begun now, which counts as running from now on."""
        for place, each in enumerate(self.found):
            if self._stopped or place in self._begun or self._has_to_wait(place, each):
                continue
            needed = needed_memory(each.given.recipe, each.plan.lock if each.plan else None)
            if self._running and not self._have_room(needed):
                return None  # those behind it must not keep it waiting for ever
            self._begun.add(place)
            self._running[place] = needed
            return place
        return None

    def finish(self, place: int, told: Told) -> None:
        """Take note of what became of a recipe."""
        self.done[place] = told
        self._running.pop(place, None)

    def give_up(self, place: int) -> None:
        """A recipe that was next was not begun after all."""
        self._running.pop(place, None)

    def stop(self) -> None:
        """Begin no other."""
        self._stopped = True

    def _have_room(self, needed: int) -> bool:
        return self.memory is None or sum(self._running.values()) + needed <= _SHARE * self.memory

    def _has_to_wait(self, place: int, each: PlannedRecipe) -> bool:
        before = self.found[:place]
        if each.makers:
            return any(at not in self.done and other.given.path in each.makers for at, other in enumerate(before))
        base = _unread_base(each)
        return base is not None and any(_unread_base(self.found[at]) == base for at in self._running)


def _unread_base(each: PlannedRecipe) -> tuple[str | None, str | None] | None:
    """The base that nobody has read, if a run of the recipe reads it."""
    if each.plan is None or each.plan.lock is not None or not each.pending:
        return None
    base = each.plan.recipe.base
    return base.source, base.revision
