"""Each file that is kept between runs is replaced by something else: what is made is the same, or it is refused.

Kept are digests, shapes and outlines below loramerge's own cache folder, what was downloaded into huggingface_hub's,
pictures, and the journal of a search.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from endurance.errands import GRID, PLAN, RUN, TUNE
from endurance.told import Told, said_badly
from endurance.world import Errand, Known, Place, World, different


def _emptied(file: Path, _other: Path) -> None:
    file.write_bytes(b"")


def _cut(file: Path, _other: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _noise(file: Path, _other: Path) -> None:
    file.write_bytes(bytes((37 * place + 11) % 256 for place in range(file.stat().st_size)))


def _another(file: Path, other: Path) -> None:
    """What is kept of another thing, sound in itself."""
    shutil.copyfile(other, file)


def _altered(file: Path, _other: Path) -> None:
    """The same size; one digit differs."""
    content = bytearray(file.read_bytes())
    place = len(content) // 2
    content[place] ^= 1
    file.write_bytes(content)


def _folder(file: Path, _other: Path) -> None:
    file.unlink()
    file.mkdir()


def _link(file: Path, other: Path) -> None:
    file.unlink()
    file.symlink_to(other)


def _link_to_nowhere(file: Path, _other: Path) -> None:
    file.unlink()
    file.symlink_to("/nowhere/at/all")


def _endless(file: Path, _other: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def _pipe(file: Path, _other: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _huge(file: Path, _other: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(1 << 40)


def _deep(file: Path, _other: Path) -> None:
    file.write_bytes(b"[" * 100_000)


POISONS: dict[str, Callable[[Path, Path], None]] = {
    "empty": _emptied, "half": _cut, "noise": _noise, "another's": _another, "one digit": _altered, "folder": _folder,
    "link": _link, "link to nowhere": _link_to_nowhere, "endless device": _endless, "pipe": _pipe, "a tebibyte": _huge,
    "deep": _deep,
}  # fmt: skip
KEPT = {RUN: ("cache/loramerge", "hub"), PLAN: ("cache/loramerge", "hub"), GRID: ("own folder",), TUNE: ("own folder",)}
_OF_A_KIND = 3
_OWN = ("grid/", "small.study.log")


def poisoned(world: World, errands: Sequence[Errand] = tuple(KEPT), poisons: Sequence[str] = tuple(POISONS)) -> Told:
    """Poison each file once in every way.

    Args:
        world: Where.
        errands: The commands that use what is kept.
        poisons: Names in `POISONS`.
    """
    told = Told("poisoned")
    for errand in errands:
        place = world.place(errand)
        known = place.known()
        for name in poisons:
            _make(place, 0)
            for file in [*_kept(world, place)]:
                _one(place, known, name, file, told)
                _make(place, 0)
    return told


def _kept(world: World, place: Place) -> Iterator[Path]:
    """What is kept at this moment that has any content; of many files of a kind, a few."""
    for top in KEPT[place.errand]:
        folder = place.folder if top == "own folder" else world.root / top
        kinds: dict[str, int] = {}
        for path in sorted(folder.rglob("*")):
            own = top != "own folder" or str(path.relative_to(folder)).startswith(_OWN)
            if path.is_file() and not path.is_symlink() and path.stat().st_size and own:
                kind = str(path.parent) + path.suffix
                kinds[kind] = kinds.get(kind, 0) + 1
                if kinds[kind] <= _OF_A_KIND:
                    yield path


def _make(place: Place, version: int) -> None:
    place.prepare(version)
    place.run(version)


def _one(place: Place, known: Known, name: str, file: Path, told: Told) -> None:
    errand = place.errand
    version = 0 if errand is TUNE else 1  # a search has its journal, and goes on with it
    if not os.path.lexists(file):
        return
    if version:
        place.prepare(version)
    others = [path for path in sorted(file.parent.iterdir()) if path.is_file() and path != file]
    with _put_back(file):
        POISONS[name](file, others[0] if others else place.folder / "small.yaml")
        outcome = place.run(version)
        where = f"{errand.name} {file} {name}:"
        if outcome.stuck:
            told.lose(where, "did not end")
        elif outcome.code == errand.code:
            told.count(f"{errand.name}: {name}", "files", "made the same")
            changed = [each for each in different(place.tree(), known.trees[version]) if place.folder / each != file]
            if changed:
                told.lose(where, "succeeded, and left something else:", changed)
        else:
            told.count(f"{errand.name}: {name}", "files", "refused")
            if wrong := said_badly(outcome.stderr):
                told.lose(where, wrong, outcome.stderr[-600:])


@contextmanager
def _put_back(file: Path) -> Iterator[None]:
    """The file is after the block as it was before."""
    content = file.read_bytes()
    try:
        yield
    finally:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
        file.write_bytes(content)
