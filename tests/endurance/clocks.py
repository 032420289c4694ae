"""The clock jumps by years, before a command and while it runs, and files get times that they never had.

The clock is that of shim.c, which a process asks for the time; files have the time of the system. So a clock that is
set back is also one by which all files are of the future. Nothing that is made may differ by it.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from endurance.errands import BUILD, CONVERT, LOCK, MERGE, PLAN, PUBLISH, RUN, TUNE
from endurance.shim import Strike
from endurance.told import Told
from endurance.world import Errand, Place, World, different

YEAR = 365 * 24 * 3600
JUMPS = (-60 * YEAR, -YEAR, -3600, -1, 1, 3600, YEAR, 10 * YEAR)
ERRANDS = (RUN, PUBLISH, LOCK, MERGE, CONVERT, TUNE)


def jumped(
    world: World,
    errands: Sequence[Errand] = ERRANDS,
    jumps: Sequence[int] = JUMPS,
    changes: Sequence[str] = (),
    rounds: int = 6,
) -> Told:
    """Let the clock jump, and change files behind the back of what remembers them.

    Args:
        world: Where.
        errands: The commands.
        jumps: By how many seconds.
        changes: Names in `CHANGES`; all by default.
        rounds: How often each is made, by each of three clocks.
    """
    told = Told("clocks")
    moments = random.Random(0)
    for errand in errands:
        place = world.place(errand)
        known = place.known()
        version = 1
        for seconds in jumps:
            for after in (0, moments.randint(1, 40)):
                version = 1 - version
                place.prepare(version)
                outcome = place.run(version, strike=Strike(clock_seconds=seconds, clock_after=after))
                told.count(errand.name, "before" if after == 0 else "while it runs")
                if outcome.code != errand.code:
                    told.lose(errand.name, seconds, after, "failed:", outcome.said)
                elif outcome.seconds > 20 * known.change.seconds + 5:
                    told.lose(errand.name, seconds, after, f"took {outcome.seconds:.0f} s")
                elif changed := different(place.tree(), known.trees[version]):
                    told.lose(errand.name, seconds, after, "left something else:", changed)
    for name, change in CHANGES.items():
        if not changes or name in changes:
            _noticed(world, name, change, rounds, told)
    return told


def _restored(file: Path, content: bytes) -> None:
    """Written in place; then the time of the last change is put back, as `touch -r` and `rsync -t` do."""
    status = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _moved(file: Path, content: bytes) -> None:
    """Another file of the same time and size takes its place."""
    status = file.stat()
    other = file.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)


def _in_the_future(file: Path, content: bytes) -> None:
    """Written; its time is in the next century."""
    file.write_bytes(content)
    os.utime(file, (4_000_000_000, 4_000_000_000))


def _of_1970(file: Path, content: bytes) -> None:
    """Written; its time is the first there is."""
    file.write_bytes(content)
    os.utime(file, (0, 0))


def _at_once(file: Path, content: bytes) -> None:
    """Written right after it was read."""
    file.write_bytes(content)


CHANGES: dict[str, Callable[[Path, bytes], None]] = {
    "written, time put back": _restored,
    "replaced, same time": _moved,
    "written, time in the future": _in_the_future,
    "written, time of 1970": _of_1970,
    "written at once": _at_once,
}


def _noticed(world: World, name: str, change: Callable[[Path, bytes], None], rounds: int, told: Told) -> None:
    """A LoRA of the same size takes another's place between two plans and runs: each says and does what is true."""
    place = world.place(Errand(f"changed {name}", BUILD.arguments, BUILD.prepare, BUILD.units))
    planning = Place(place.folder, PLAN, place.driver)
    contents = [(place.folder / f"{each}.safetensors").read_bytes() for each in "ad"]
    lora = place.folder / "a.safetensors"
    place.prepare(0)
    trees = []
    for content in contents:
        lora.write_bytes(content)
        place.run(0)
        trees.append(place.tree())
    for round_number in range(rounds):
        wanted = round_number % 2
        for clock in (0, -YEAR, YEAR):
            change(lora, contents[1 - wanted])
            place.run(0, strike=Strike(clock_seconds=clock))
            change(lora, contents[wanted])
            strike = Strike(clock_seconds=clock)
            planned = planning.run(0, strike=strike).code
            ran = place.run(0, strike=strike)
            told.count(name, "changes")
            if planned != PLAN.code or ran.code != 0:
                told.lose(name, clock, f"plan ended with {planned}, run with {ran.code}:", ran.said)
            elif changed := different(place.tree(), trees[wanted]):
                told.lose(name, clock, "what is there is not of the file that is there:", changed)
    shutil.rmtree(place.folder)
