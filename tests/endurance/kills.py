"""SIGKILL at random moments of each command: what is there is the old one or the new one, and the next run finishes.

Half of the moments are chosen by time, over all that the command takes; half by one of its calls that opens, reads,
writes, renames or removes a file, of which there are some hundred, so that short ones are found as well. A command
that was killed may be killed again when it is repeated, up to three times, before it may finish.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from endurance.errands import CONVERT, EXTRACT, GRID, JOBS, LOCK, MERGE, PLAN, PUBLISH, RUN, TUNE
from endurance.shim import Strike
from endurance.told import Told
from endurance.world import Errand, Known, Place, Tree, World, different

SHARES = {RUN: 30, PUBLISH: 20, TUNE: 12, PLAN: 8, MERGE: 8, CONVERT: 6, EXTRACT: 6, LOCK: 5, GRID: 3, JOBS: 2}
"""Of a hundred kills."""


def killed(world: World, kills: int, seed: int = 0, shares: Mapping[Errand, int] = SHARES) -> Told:
    """Kill commands so often.

    Args:
        world: Where.
        kills: How many processes end by the signal.
        seed: Of the moments.
        shares: Command → its share of the kills.
    """
    told = Told("killed")
    for errand, share in shares.items():
        moments = random.Random(f"{seed} {errand.name}")
        place = world.place(errand)
        known = place.known()
        version, wanted = 1, -(-kills * share // sum(shares.values()))
        while told.counts.get(errand.name, {}).get("kills", 0) < wanted:
            version = 1 - version
            _round(place, known, version, moments, told)
        for _ in world.litter():  # small files that the system itself removes there, as it does of every program
            told.count(errand.name, "in the system's temporary folder")
    return told


def _round(place: Place, known: Known, version: int, moments: random.Random, told: Told) -> None:
    name = place.errand.name
    place.prepare(version)
    for _ in range(moments.choice([1, 1, 2, 3])):
        before = place.tree()
        moment = _moment(known, moments)
        outcome = place.run(version, **moment)
        if outcome.stuck:
            told.lose(name, moment, "did not end")
        if not outcome.killed:  # it was through before; what is there already takes less time
            break
        told.count(name, "kills", "at a call" if outcome.hit else "at a time", f"in {outcome.stage}")
        for what in _broken(place, known, version, before):
            told.lose(name, moment, outcome.hit or outcome.stage, what)
    done = place.run(version)
    if done.code not in {0, place.errand.code}:
        told.lose(name, "the next run failed:", done.said)
    elif changed := different(place.tree(), known.trees[version]):
        told.lose(name, "the next run left something else:", changed)
    told.count(name, "finished by the next run")


def _moment(known: Known, moments: random.Random) -> dict[str, Any]:
    if moments.random() < 0.5:
        return {"strike": Strike(nth=moments.randint(1, known.change.calls), kill=True)}
    return {"seconds": moments.uniform(0, known.change.seconds)}


def _broken(place: Place, known: Known, version: int, before: Tree) -> list[str]:
    """Units that are neither what they were nor what they are to be."""
    errand = place.errand
    old, new, now = (errand.units_of(each) for each in (before, known.trees[version], place.tree()))
    return [unit for unit in errand.units if now[unit] not in (old[unit], new[unit])]
