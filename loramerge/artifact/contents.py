"""An artifact's folder: the names of its files, and what may be replaced by a new one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from loramerge.artifact.in_toto import STATEMENT, Statement
from loramerge.errors import LoramergeError, UsageError
from loramerge.files.at_rest import at_rest, content_at
from loramerge.files.digest import files_of
from loramerge.files.file_view import FileBytes
from loramerge.files.kinds import special_at
from loramerge.files.lengths import too_long
from loramerge.files.reading import text_of
from loramerge.files.writing import closed
from loramerge.messages import some

CARD = "README.md"
RECIPE = "recipe.yaml"
LOCK = "recipe.lock.yaml"
REPORT = "report.json"
PAGE = "report.html"
SIGNATURE = "model.sig"
PREVIEW = "preview"
"""The folder of pictures."""
SHEET = "preview.png"
"""The contact sheet in it."""
CARD_SHEET = "preview.jpg"
"""The same, small enough for the model card."""
PAPERS = (CARD, STATEMENT, LOCK, RECIPE, PAGE, REPORT)
"""What lies at the top of every artifact."""
BESIDE = (".git", ".gitattributes", ".cache", ".loramerge")
"""What git, a Hub and our own targets put beside the files that they hold."""


def check_place(place: Path, recipe: str, *, force: bool, inputs: Iterable[Path] = (), old: Path | None = None) -> None:
    """Refuse to replace anything but an earlier artifact of the same recipe.

    Args:
        place: Where the artifact is to go.
        recipe: The recipe's name.
        force: Replace whatever is there.
        inputs: What must never be inside, even then; the current folder and the home folder are such as well.
        old: Where what was at `place` is now; by default there.

    Raises:
        UsageError: Its path is too long.
        LoramergeError: A file, a folder that is no artifact, one of another recipe, or one with foreign files in it or
            with files that were changed since; even with force a device, a named pipe or a socket, or a folder that
            has one.
    """
    check_length(place, "--out")
    for kept in (Path.cwd(), Path.home(), *inputs):
        if kept.resolve().is_relative_to(place):
            said = f"{place} holds {kept}" if kept.resolve() != place else f"{place} is no folder of its own"
            raise LoramergeError(
                f"{said}, and an artifact replaces its folder", hint="give a folder of its own with --out"
            )
    there = old or place
    at_rest(partial(_check_old, place, there, recipe, force=force), partial(content_at, there / STATEMENT))


def _check_old(place: Path, old: Path, recipe: str, *, force: bool) -> None:
    if found := special_at(old):
        special, what = found
        raise LoramergeError(f"{special} is {what}, which is never replaced", hint="choose another folder with --out")
    if force or not old.exists() or (old.is_dir() and not any(old.iterdir())):
        return
    hint = "choose another folder with --out, or replace it with --force"
    if not old.is_dir():
        raise LoramergeError(f"{place} is a file", hint=hint)
    try:
        name, files = _papers(old)
    except (OSError, ValueError, KeyError, TypeError):
        raise LoramergeError(f"{place} exists and is no artifact of loramerge", hint=hint) from None
    if name != recipe:
        raise LoramergeError(f"{place} is an artifact of the recipe {name}, not of {recipe}", hint=hint)
    there = files_of(old)
    foreign = sorted(set(there) - set(files) - {SIGNATURE})
    if foreign:
        raise LoramergeError(f"{place} holds files that are not the artifact's: {some(foreign)}", hint=hint)
    known = {name: FileBytes.at(path, name).digest().sha256 for name, path in there.items()}
    changed = [name for name, digest in files.items() if known.get(name, digest) != digest]
    if changed:
        raise LoramergeError(f"{place} holds files that were changed since they were made: {some(changed)}", hint=hint)


def check_writable(place: Path) -> None:
    """Refuse a place that nothing can be written to, as far as the system tells it beforehand.

    Raises:
        LoramergeError: A file stands where a folder would have to be, or a folder is closed.
    """
    there = next(each for each in place.parents if os.path.lexists(each))
    if not there.is_dir():
        raise LoramergeError(
            f"{place} can't be made: {there} is a file", hint="choose another folder with --out, or move the file away"
        )
    if reason := closed(there):
        raise LoramergeError(f"{place} can't be written: {reason}", hint="choose another folder with --out")


def recipe_of(statement: str) -> str:
    """Name of the recipe that a provenance.json is of.

    Raises:
        ValueError, KeyError, TypeError: It is none of loramerge.
    """
    predicate = Statement.parse(statement).predicate
    return str(predicate["buildDefinition"]["externalParameters"]["recipe"]["name"])


def check_length(place: Path, option: str) -> None:
    """Refuse a path that the system has no room for.

    Args:
        place: Where something is to go.
        option: Which says so.

    Raises:
        UsageError: It is too long.
    """
    if reason := too_long(str(place)):
        raise UsageError(f"{place} can't be made: {reason}", hint=f"choose a shorter one with {option}")


def _papers(place: Path) -> tuple[str, dict[str, str]]:
    """The recipe's name and the SHA-256 of all files of an artifact, as it says itself."""
    path = place / STATEMENT
    text = text_of(path)
    return recipe_of(text), {**Statement.parse(text).subjects, STATEMENT: FileBytes.at(path, STATEMENT).digest().sha256}
