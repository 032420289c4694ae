"""Two commands at once on one folder, the second at a random moment of the first: both end well, all is whole.

Where both make versions of the same, what is there in the end is one of the two; where one only looks, it says what was
before or what is after, and nothing in between.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import sleep

from endurance.driver import Driver, driving
from endurance.errands import PLAN, PUBLISH, RUN
from endurance.told import Told, said_badly
from endurance.world import Errand, Place, World, different


@dataclass(frozen=True)
class Meeting:
    """Two commands.

    Attributes:
        first: Makes version 1, where version 0 is.
        second: Begins meanwhile.
        codes: Exit codes of the second that are right.
    """

    first: Errand
    second: Errand
    codes: Sequence[int] = (0,)

    @property
    def name(self) -> str:
        """Both."""
        return f"{self.first.name} and {self.second.name}"


_VERIFY = Errand("verify", "verify out", RUN.prepare)
_PRUNE = Errand("run --prune", "run . --out out --prune", RUN.prepare)
_PUBLISH_IT = Errand("publish", "publish small.yaml --artifact out", RUN.prepare)
_NEXT = Errand("run --rebuild", "run small.yaml --out out --device cpu --rebuild", RUN.prepare, RUN.units)
MEETINGS = (
    Meeting(RUN, RUN),
    Meeting(RUN, _NEXT),
    Meeting(RUN, _PUBLISH_IT, codes=(0, 7)),
    Meeting(RUN, PLAN, codes=(0, 2)),
    Meeting(RUN, _VERIFY),
    Meeting(RUN, _PRUNE, codes=(0, 64)),
    Meeting(PUBLISH, PUBLISH),
)


def met(world: World, rounds: int, seed: int = 0, meetings: Sequence[Meeting] = MEETINGS) -> Told:
    """Let them meet so often.

    Args:
        world: Where.
        rounds: Of each meeting.
        seed: Of the moments.
        meetings: Of which commands.
    """
    told = Told("at once")
    with driving(world.root, world.env) as other:
        for meeting in meetings:
            moments = random.Random(f"{seed} {meeting.name}")
            place = world.place(
                Errand(meeting.name, meeting.first.arguments, meeting.first.prepare, meeting.first.units)
            )
            known = place.known()
            for each in range(rounds):
                version = each % 2
                place.prepare(version)
                _meet(place, meeting, other, version, moments.uniform(0, known.change.seconds), told)
                done = place.run(version)
                if done.code != 0:
                    told.lose(meeting.name, "the next run failed:", done.said)
                elif changed := different(place.tree(), known.trees[version]):
                    told.lose(meeting.name, "the next run left something else:", changed)
    return told


def _meet(place: Place, meeting: Meeting, other: Driver, version: int, seconds: float, told: Told) -> None:
    place.start(version)
    with suppress(KeyboardInterrupt):
        sleep(seconds)
    second = Place(place.folder, meeting.second, other).run(version)
    first = place.driver.wait()
    told.count(meeting.name, "rounds", *(["the second waited"] if "waiting for another run" in second.stderr else []))
    for outcome, codes in ((first, (0,)), (second, meeting.codes)):
        if outcome.stuck:
            told.lose(meeting.name, seconds, "did not end")
        elif outcome.code not in codes:
            told.lose(meeting.name, seconds, f"ended with {outcome.code}:", outcome.said)
        elif outcome.code not in {0, 2} and (wrong := said_badly(outcome.stderr)):
            told.lose(meeting.name, seconds, wrong, outcome.stderr)
