"""An artifact's folder: the names of its files, and what may be replaced by a new one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from loramerge.artifact.in_toto import STATEMENT, Statement
from loramerge.errors import LoramergeError
from loramerge.files.digest import files_of
from loramerge.files.kinds import special_at
from loramerge.files.reading import text_of
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
        LoramergeError: A file, a folder that is no artifact, one of another recipe, or one with foreign files in it;
            even with force a device, a named pipe or a socket, or a folder that has one.
    """
    for kept in (Path.cwd(), Path.home(), *inputs):
        if kept.resolve().is_relative_to(place):
            raise LoramergeError(
                f"{place} holds {kept}, and an artifact replaces its folder", hint="give a folder of its own with --out"
            )
    old = old or place
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
    foreign = sorted(set(files_of(old)) - files - {SIGNATURE})
    if foreign:
        raise LoramergeError(f"{place} holds files that are not the artifact's: {some(foreign)}", hint=hint)


def recipe_of(statement: str) -> str:
    """Name of the recipe that a provenance.json is of.

    Raises:
        ValueError, KeyError, TypeError: It is none of loramerge.
    """
    predicate = Statement.parse(statement).predicate
    return str(predicate["buildDefinition"]["externalParameters"]["recipe"]["name"])


def _papers(place: Path) -> tuple[str, set[str]]:
    """The recipe's name and all files of an artifact, as it says itself."""
    text = text_of(place / STATEMENT)
    return recipe_of(text), {*Statement.parse(text).subjects, STATEMENT}
