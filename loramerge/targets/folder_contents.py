"""What a folder holds: files of a recipe as its record has them, and files of others."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from loramerge.artifact import model_card
from loramerge.artifact.contents import CARD
from loramerge.files.atomic import replacing_file
from loramerge.files.digest import files_of, sha256_of
from loramerge.files.kinds import special_at
from loramerge.files.reading import text_of
from loramerge.formats import sidecars
from loramerge.messages import some
from loramerge.targets import record
from loramerge.targets.record import Record, digest_of_ours

MOVE = "move it away, or overwrite it with --force"

Traces = Mapping[str, tuple[int, ...]]
"""Name → what tells that somebody wrote there; the name of the place itself is empty."""


def record_in(place: Path, recipe: str) -> Record | None:
    """What this recipe put there the last time."""
    try:
        return Record.parse(text_of(place / record.place(recipe)))
    except (OSError, ValueError):
        return None


def records_in(place: Path) -> list[Record]:
    """What recipes put there the last time, one record for each."""
    found = []
    for file in sorted((place / record.FOLDER).glob("*.json")):
        with suppress(OSError, ValueError):
            if (known := Record.parse(text_of(file))) is not None:
                found.append(known)
    return found


def give_up(place: Path, recipe: str, names: Collection[str]) -> set[str]:
    """Leave files to other recipes that count on them.

    Args:
        place: The folder.
        recipe: Whose files they were.
        names: Of the files.

    Returns:
        Those that nobody counts on.
    """
    left = {*names}
    for other in [each for each in records_in(place) if each.recipe != recipe] if left else ():
        if (heir := other.inheriting(left)) is not None:
            write_record(heir, place)
        left -= other.claimed
    return left


def write_record(known: Record, place: Path) -> None:
    """Write down what a recipe put there.

    Raises:
        OSError: It can't be written.
    """
    file = place / record.place(known.recipe)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(file) as stream:
        stream.write(known.text().encode())


def published_in(place: Path) -> dict[str, Path]:
    """Every file in a folder but the records."""
    return {name: path for name, path in files_of(place).items() if not name.startswith(f"{record.FOLDER}/")}


def unchanged(known: Mapping[str, Collection[str]], present: Mapping[str, Path]) -> set[str]:
    """Names of the files that have one of the SHA-256s that they may have; of a model card our part has it."""
    return {
        name for name, digests in known.items() if name in present and digest_of_ours(name, present[name]) in digests
    }


def still_ours(known: Record, present: Mapping[str, Path]) -> set[str]:
    """Names of the files of a record that are as they were published.

    JSON files beside LoRAs are the programs' that show them: what these and their users write there changes nothing.
    """
    shown = {name for name in sidecars.are_beside(known.digests) if name in present and _is_json(present[name])}
    return unchanged(known.digests, present) | shown


def written_into(known: Record, present: Mapping[str, Path], names: Collection[str]) -> dict[str, Path]:
    """The model card, and those JSON files beside LoRAs that are no longer what was published.

    Args:
        known: What was published.
        present: What there is.
        names: Of what is there and ours.
    """
    others = sidecars.are_beside({**known.digests, **present}) & {*names} & {*known.digests}
    edited = {name for name in others if sha256_of(present[name]) not in known.digests[name]}
    return {name: present[name] for name in (edited | {CARD}) & {*names}}


def _is_json(path: Path) -> bool:
    try:
        return sidecars.is_readable(text_of(path))
    except (OSError, ValueError):
        return False


def with_owners_words(files: Mapping[str, Path], present: Mapping[str, Path]) -> Mapping[str, Path | bytes]:
    """The same files, with model card and JSON files beside LoRAs as they shall be: ours, and what others wrote there.

    Args:
        files: What is to be put there.
        present: As `written_into` gives it.

    Returns:
        Name → the file that has the content, or the content.
    """
    merging = {CARD: model_card.merged, **dict.fromkeys(sidecars.are_beside(files), sidecars.merged)}
    found: dict[str, Path | bytes] = dict(files)
    for name in merging.keys() & files.keys() & present.keys():
        ours, theirs = (text_of(path) for path in (files[name], present[name]))
        found[name] = merging[name](ours, theirs).encode()
    return found


def obstacle(place: Path, wanted: Collection[str], present: Mapping[str, Path], free: Collection[str]) -> str:
    """Why files can't be put there without force, in words that follow the folder's name; empty if they can.

    Nothing may vanish but what this recipe put there: neither files of the same name nor others in our folders.

    Args:
        place: The folder.
        wanted: Names of what is to be put there.
        present: What there is.
        free: Names of what may be replaced, or need not be.
    """
    folders = {name.partition("/")[0] for name in wanted if "/" in name}
    if linked := [name for name in sorted(folders) if (place / name).is_symlink()]:
        return f"has a link where {some(linked)} should go"
    touched = {name for name in present if name in wanted or name.partition("/")[0] in folders}
    if in_the_way := sorted(touched - set(free)):
        return f"holds {some(in_the_way)}, which this recipe did not put there, or which was changed since"
    return ""


def irreplaceable(place: Path, wanted: Collection[str]) -> str:
    """What is in the way and stays even with force, in words that follow the folder's name; empty if there is none.

    Args:
        place: The folder.
        wanted: Names of what is to be put there.
    """
    for top in sorted({name.partition("/")[0] for name in wanted}):
        if found := special_at(place / top):
            path, what = found
            return f"has {what} in {path.relative_to(place)}, which is never replaced"
    return ""


def traces_of(place: Path) -> Traces:
    """What is at a place and below it, each by what tells that somebody wrote there; empty where nothing is."""
    found: dict[str, tuple[int, ...]] = {}
    for path in (place, *place.rglob("*")):
        with suppress(FileNotFoundError):
            status = path.lstat()
            name = "" if path == place else path.relative_to(place).as_posix()
            # A folder's own time changes with what is in it, and what is in it has traces of its own.
            found[name] = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
    return found


def below(name: str, traces: Traces) -> Traces:
    """The part of traces that one entry has, as `traces_of` would say it of this entry."""
    inside = {each.removeprefix(name)[1:]: trace for each, trace in traces.items() if each.startswith(f"{name}/")}
    return inside | ({"": traces[name]} if name in traces else {})


def remove_file(place: Path, name: str) -> None:
    """Remove a file, and the folders that it leaves empty."""
    file = place / name
    file.unlink(missing_ok=True)
    with suppress(OSError):  # one that holds something
        for folder in file.parents[: name.count("/")]:
            folder.rmdir()


def holds_nothing_else(place: Path, recipe: str, ours: Collection[str]) -> bool:
    """Whether every entry of a folder is a file of this recipe or a folder of such: no link, no empty folder."""
    for path in place.rglob("*"):
        name = path.relative_to(place).as_posix()
        if path.is_symlink():
            return False
        if path.is_dir():
            if not os.access(path, os.R_OK | os.X_OK) or not any(path.iterdir()):
                return False
        elif name not in ours and name != record.place(recipe):
            return False
    return True
