"""The recipe with the values that a search found: the file as its author wrote it, where that can be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.documents import yaml_document, yaml_edit
from loramerge.documents.mistaken import RECIPES
from loramerge.errors import UsageError
from loramerge.fields import NAME_LENGTH
from loramerge.files.atomic import replacing_file
from loramerge.files.reading import content_of, text_of
from loramerge.files.writing import writing
from loramerge.recipe.tokens import secrets_of, without_secrets

if TYPE_CHECKING:
    from loramerge.recipe import Recipe
    from loramerge.search.study import Study

WRITTEN = "written"
"""Under which a study notes what `check_place` asks for."""
_ENDING = "-tuned"
_OWN_LINES = re.compile(r"# (?:loramerge (?:run|tune) |yaml-language-server:).*\n")


def place_of(recipe: Path, out: Path | None) -> Path:
    """Where the found recipe goes: beside the recipe, for paths in it start there.

    Args:
        recipe: The recipe's file.
        out: Where it is to go; `<stem>-tuned.yaml` if None.

    Raises:
        UsageError: It would lie elsewhere, or be the recipe itself, or is no recipe's name.
    """
    place = recipe.with_name(f"{recipe.stem}{_ENDING}.yaml") if out is None else out.absolute()
    if not place.name.endswith(RECIPES):
        raise UsageError(f"{place}: a recipe is called NAME.yaml", hint=f"-o {place.with_suffix('.yaml').name}")
    if place.parent.resolve() != recipe.parent.resolve():
        raise UsageError(
            f"{place} does not lie beside {recipe}: paths in a recipe start at its folder",
            hint=f"-o {recipe.with_name(place.name)}",
        )
    if place.resolve() == recipe.resolve():
        raise UsageError(f"{place} is the recipe that is tuned", hint="choose another name with -o")
    return place


def check_place(place: Path, written: str) -> None:
    """Go on only if nothing is there but what an earlier search of the study wrote.

    Args:
        place: Where the found recipe goes.
        written: SHA-256 of what that was, or of what it was and was about to be; empty for nothing.

    Raises:
        UsageError: There is something else.
    """
    if place.exists() and (place.is_dir() or hashlib.sha256(content_of(place)).hexdigest() not in written.split()):
        raise UsageError(
            f"{place} is there, and no search of this study wrote it as it is",
            hint="choose another name with -o, or move it away",
        )


def content_for(place: Path, recipe: Recipe, data: Mapping[str, Any], said: str) -> tuple[bytes, tuple[str, ...]]:
    """The file of the found recipe.

    Args:
        place: Where it goes.
        recipe: The recipe that was tuned.
        data: The same with the found values, as plain data.
        said: How they were found, on one line.

    Returns:
        What it holds, and what is to be said of it.
    """
    name = f"{recipe.name[: NAME_LENGTH - len(_ENDING)]}{_ENDING}"
    wanted = without_secrets({**data, "name": name})
    assert recipe.path is not None  # noqa: S101  what is tuned is a file
    text = yaml_edit.edited(text_of(recipe.path), wanted)
    notes = []
    if text is None or any(part in text for source in recipe.secretive for part in secrets_of(source)):
        notes.append(f"{place.name} is without the comments of the recipe, whose form can't be kept")
        text = yaml_document.dump(wanted)
    if recipe.secretive:
        notes.append(f"{place.name} has addresses without their queries, which may hold tokens")
    return _headed(text, f"# loramerge run {place.name}\n# {said}\n").encode(), tuple(notes)


def write(place: Path, content: bytes, study: Study) -> None:
    """Write it, complete or not at all. The study knows it beforehand: who is stopped in between goes on all the same.

    Raises:
        LoramergeError: It can't be written.
    """
    digest, earlier = hashlib.sha256(content).hexdigest(), study.noted(WRITTEN)
    if digest not in earlier.split():
        study.note(WRITTEN, f"{earlier} {digest}".strip())
    with writing(place), replacing_file(place) as stream:
        stream.write(content)
    study.note(WRITTEN, digest)


def _headed(text: str, head: str) -> str:
    """The text below some lines; those that say what to do with the recipe that it was go, a schema's stays first."""
    first = ""
    while found := _OWN_LINES.match(text):
        first += found[0] if "yaml-language-server" in found[0] else ""
        text = text[found.end() :]
    return first + head + text
