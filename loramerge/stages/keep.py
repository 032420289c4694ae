"""Stage: remember for which recipe an artifact lies in `dist`, and let go of it when that recipe is gone."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.artifact.contents import SIGNATURE, recipe_of
from loramerge.artifact.in_toto import STATEMENT, Statement
from loramerge.errors import InvalidRecipeError
from loramerge.files.atomic import replacing_file
from loramerge.files.digest import files_of, sha256_of
from loramerge.files.reading import text_of
from loramerge.files.run_lock import in_turn
from loramerge.files.writing import writing
from loramerge.provenance.git import home_of
from loramerge.recipe import read_each
from loramerge.targets import record
from loramerge.targets.folder_contents import remove_file
from loramerge.targets.held import Orphan

if TYPE_CHECKING:
    from loramerge.recipe import Recipe

_SHELF = "dist"
_RECORDS = f"{record.FOLDER}/artifacts"


@dataclass(frozen=True)
class _Kept:
    """An artifact that a run made or found in the default folder.

    Attributes:
        recipe: The recipe's name.
        home: What tells the folder of recipes that this one is from, from all others.
        papers: Name → SHA-256 of those files of the artifact that its provenance does not list.
    """

    recipe: str
    home: str
    papers: Mapping[str, str]

    def text(self) -> str:
        data = {"recipe": self.recipe, "home": self.home, "papers": dict(self.papers)}
        return json.dumps(data, indent=2, sort_keys=True) + "\n"

    @classmethod
    def parse(cls, text: str) -> _Kept | None:
        try:
            data = json.loads(text)
            papers = {str(name): str(digest) for name, digest in data["papers"].items()}
            return cls(str(data["recipe"]), str(data["home"]), papers)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def keep(recipe: Recipe, place: Path) -> None:
    """Remember the recipe of an artifact in `dist`, in a file beside it: the artifact itself is the same everywhere.

    Only what a file of that name asks for is remembered: not what comes from standard input, or under a name by --set.

    Args:
        recipe: What the artifact was made from.
        place: The artifact's folder.
    """
    shelf = Path(_SHELF).resolve()
    if place != shelf / recipe.name or not (place / STATEMENT).is_file():
        return
    with suppress(OSError):  # a folder that can't be written: what is not remembered is never removed
        file = _record_of(shelf, recipe.name)
        if not _is_in_its_file(recipe):
            file.unlink(missing_ok=True)
            return
        papers = {name: sha256_of(place / name) for name in (STATEMENT, SIGNATURE) if (place / name).is_file()}
        text = _Kept(recipe.name, home_of(recipe.folder), papers).text()
        if not file.is_file() or text_of(file) != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing_file(file) as stream:
                stream.write(text.encode())


def kept_orphans(home: str, recipes: Collection[str]) -> Iterator[Orphan]:
    """Artifacts in `dist` of recipes from a folder that are no longer in it, as they were made or changed since.

    Args:
        home: What tells that folder of recipes from all others.
        recipes: Names of those that are there.

    Raises:
        OSError: An artifact can't be read.
    """
    shelf = Path(_SHELF).resolve()
    for file in sorted((shelf / _RECORDS).glob("*.json")):
        known = _known_in(file)
        if known is not None and known.home == home and known.recipe not in recipes:
            orphan = _orphan(shelf / known.recipe, known)
            if orphan is not None:
                yield orphan


def discard(orphan: Orphan) -> None:
    """Remove what is unchanged of such an artifact, and what was remembered of it.

    Raises:
        LoramergeError: It can't be removed.
    """
    place = Path(orphan.place)
    file = _record_of(place.parent, orphan.recipe)
    with in_turn(place), writing(place):
        known = _known_in(file)
        found = None if known is None else _orphan(place, known)
        if found is not None:
            # The provenance last: a killed run leaves what the next one still knows.
            for name in sorted(found.unchanged, key=lambda name: name == STATEMENT):
                remove_file(place, name)
            with suppress(OSError):  # something was changed, and stays
                place.rmdir()
            file.unlink(missing_ok=True)


def _orphan(place: Path, known: _Kept) -> Orphan | None:
    """What there is of an artifact; None where another one has taken its place, or somebody changed what it says."""
    statement = place / STATEMENT
    if place.is_symlink() or not statement.is_file() or sha256_of(statement) != known.papers.get(STATEMENT):
        return None
    try:
        text = text_of(statement)
        ours = {**Statement.parse(text).subjects, **known.papers}
        if recipe_of(text) != known.recipe:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    files = files_of(place)
    still = {name for name, path in files.items() if not path.is_symlink() and ours.get(name) == sha256_of(path)}
    unchanged, changed = ([name for name in files if (name in still) is wanted] for wanted in (True, False))
    return Orphan(str(place), known.recipe, tuple(unchanged), tuple(changed))


def _is_in_its_file(recipe: Recipe) -> bool:
    try:
        return recipe.path is not None and recipe.name in [each.name for each in read_each(recipe.path)]
    except InvalidRecipeError:
        return False


def _known_in(file: Path) -> _Kept | None:
    """A record under the name of its recipe; None for anything else."""
    try:
        known = _Kept.parse(text_of(file))
    except (OSError, ValueError):
        return None
    return known if known is not None and known.recipe == file.stem else None


def _record_of(shelf: Path, recipe: str) -> Path:
    return shelf / _RECORDS / f"{recipe}.json"
