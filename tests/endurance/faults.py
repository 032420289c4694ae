"""Each call that writes or reads a file fails once: with a full disk, and with an error of the device.

Positions are counted in a run that nothing disturbs. `full` fails at a call and at every later one that writes, as a
disk that is full does; `device` fails once. Then the state is the old or the new one, the error is told in words, and
the next run leaves what it always leaves. A command that gets by without what failed has to leave that at once.
What can't be made to fail so: pages of files that are mapped into memory (ours maps none), and `stat`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from endurance.errands import CONVERT, LOCK, MERGE, PUBLISH, RUN, TUNE
from endurance.shim import Call, Strike
from endurance.told import Told, said_badly
from endurance.world import Errand, Known, Place, Tree, World, different

ERRANDS = (RUN, PUBLISH, LOCK, MERGE, CONVERT, TUNE)
_FULL = Call.WRITE | Call.SYNC | Call.CREATE | Call.RENAME


@dataclass(frozen=True)
class Kind:
    """A way to fail.

    Attributes:
        name: Of it.
        kinds: Calls that do.
        error: With what.
        lasting: Whether all later ones fail as well.
    """

    name: str
    kinds: Call
    error: int
    lasting: bool

    def at(self, nth: int) -> Strike:
        """The n-th call fails."""
        return Strike(self.kinds, nth, self.error, self.lasting)


WRITING = (
    Kind("full", _FULL, errno.ENOSPC, lasting=True),
    Kind("device, writing", Call.WRITES, errno.EIO, lasting=False),
)
READING = (Kind("device, reading", Call.READS, errno.EIO, lasting=False),)


def failed(world: World, kinds: Sequence[Kind], errands: Sequence[Errand] = ERRANDS, step: int = 1) -> Told:
    """Let every call fail once.

    Args:
        world: Where.
        kinds: Ways to fail.
        errands: The commands.
        step: One in so many positions is tried.
    """
    told = Told(f"failing calls, {' and '.join(each.name for each in kinds)}")
    for errand in errands:
        place = world.place(errand)
        known = place.known()
        for kind in kinds:
            for nth in _positions(place, kind, step):
                _one(place, known, kind, nth, told)
        if left := world.litter():
            told.lose(errand.name, "left", left)
    return told


def _positions(place: Place, kind: Kind, step: int) -> Iterator[int]:
    """From the first call on, as long as a change has so many."""
    place.prepare(0)
    place.run(0)
    place.prepare(1)
    calls = place.run(1, strike=kind.at(0)).calls
    yield from range(1, calls + 1, step)


def _one(place: Place, known: Known, kind: Kind, nth: int, told: Told) -> None:
    name, group = place.errand.name, f"{place.errand.name}: {kind.name}"
    version = nth % 2
    if place.tree() != known.trees[1 - version]:
        place.prepare(1 - version)
        place.run(1 - version)
        if changed := different(place.tree(), known.trees[1 - version]):
            told.lose(name, kind.name, nth, "what was left before is still there:", changed)
    place.prepare(version)
    before = place.tree()
    outcome = place.run(version, strike=kind.at(nth))
    where = f"{name} {kind.name} {nth}: {outcome.hit}"
    if outcome.stuck:
        told.lose(where, "did not end")
    if not outcome.hit:
        told.count(group, "not reached")
    elif outcome.code == place.errand.code:
        told.count(group, "positions", "got by without")
        _check_success(place, known.trees[version], group, where, told)
    else:
        told.count(group, "positions", f"exit code {outcome.code}")
        if wrong := said_badly(outcome.stderr):
            told.lose(where, wrong, outcome.stderr[-600:])
        _check_failure(place, before, known.trees[version], where, told)
        done = place.run(version)
        if done.code not in {0, place.errand.code}:
            told.lose(where, "and the next run failed:", done.said)
        elif changed := different(place.tree(), known.trees[version]):
            told.lose(where, "and the next run left something else:", changed)


def _check_success(place: Place, wanted: Tree, group: str, where: str, told: Told) -> None:
    changed = different(place.tree(), wanted)
    if changed and all(".partial" in each for each in changed):  # the next run that changes something removes it
        told.count(group, "could not tidy")
    elif changed:
        told.lose(where, "succeeded, and left something else:", changed)


def _check_failure(place: Place, before: Tree, wanted: Tree, where: str, told: Told) -> None:
    errand = place.errand
    old, new, now = (errand.units_of(each) for each in (before, wanted, place.tree()))
    for unit in errand.units:
        if now[unit] not in (old[unit], new[unit]):
            told.lose(where, "is neither old nor new:", unit)
