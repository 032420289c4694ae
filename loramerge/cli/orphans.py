"""What recipes left that are no longer there, in targets and in `dist`: shown by `plan`, removed by `run --prune`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.cli import console
from loramerge.cli.boundary import failure
from loramerge.cli.each import each_of
from loramerge.errors import LoramergeError, UsageError
from loramerge.messages import counted, some

if TYPE_CHECKING:
    from loramerge.cli.boundary import Failure
    from loramerge.cli.recipes import NamedRecipe
    from loramerge.recipe import Recipe
    from loramerge.targets.held import Orphan


@dataclass(frozen=True)
class Orphaned:
    """One recipe's leftovers at one place.

    Attributes:
        orphan: What there is.
        remove: Removes what is unchanged of it.
    """

    orphan: Orphan
    remove: Callable[[], None]

    @property
    def row(self) -> tuple[str, ...]:
        """A line of the plan's table."""
        files = counted(len(self.orphan.unchanged), "file")
        stays = f"; {some(self.orphan.changed)} was changed and stays" if self.orphan.changed else ""
        return self.orphan.recipe, self.orphan.place, "orphaned", f"{files} of a recipe that is gone{stays}"

    @property
    def data(self) -> dict[str, Any]:
        """The same as plain data."""
        found = {"place": self.orphan.place, "files": list(self.orphan.unchanged), "changed": list(self.orphan.changed)}
        return {"recipe": None, "name": self.orphan.recipe, "orphaned": found}

    def prune(self, *, as_json: bool) -> dict[str, Any]:
        """Remove what nobody changed and say so; what was done, as plain data.

        Raises:
            LoramergeError: It can't be removed.
        """
        self.remove()
        if not as_json:
            console.result(str(self))
        return self.data | {"status": "pruned"}

    def __str__(self) -> str:
        files = counted(len(self.orphan.unchanged), "file")
        stays = f"; kept {some(self.orphan.changed)}, which was changed" if self.orphan.changed else ""
        return f"{self.orphan.recipe}: removed {files} from {self.orphan.place}{stays}"


def orphans(paths: Sequence[str], recipes: Sequence[NamedRecipe]) -> list[Orphaned]:
    """What the targets of recipes, and `dist`, hold of others of the same folder that are gone.

    Only folders tell which recipes there are: of a single file nothing is known of the others.

    Args:
        paths: What the command line names.
        recipes: What that stands for.

    Raises:
        PublishError: A target can't be looked at.
        OSError: An artifact can't be read.
    """
    named = dict.fromkeys(Path(path).resolve() for path in folders(paths))
    return [found for folder in named for found in _of(folder, recipes)]


def prune_all(
    paths: Sequence[str], recipes: Sequence[NamedRecipe], *, as_json: bool, verbose: bool
) -> list[dict[str, Any]]:
    """Find what is orphaned, and remove it.

    Args:
        paths: What the command line names.
        recipes: What that stands for.
        as_json: Nothing is said but in the document.
        verbose: Show where a defect lies.

    Returns:
        What was done, as plain data.
    """
    left, unknown = look(paths, recipes, verbose=verbose)
    if unknown is not None:
        if not as_json:
            console.error(unknown.message, unknown.hint)
        return [{"recipe": None, "name": None, "status": "failed", "error": unknown.data}]
    done, _ = each_of(
        left,
        lambda each: each.prune(as_json=as_json),
        lambda each, found: {"recipe": None, "name": each.orphan.recipe, "status": "failed", "error": found.data},
        as_json=as_json,
        verbose=verbose,
    )
    return done


def look(
    paths: Sequence[str], recipes: Sequence[NamedRecipe], *, verbose: bool
) -> tuple[list[Orphaned], Failure | None]:
    """What is orphaned, or why that can't be found out.

    Args:
        paths: What the command line names.
        recipes: What that stands for.
        verbose: Show where a defect lies.
    """
    try:
        return orphans(paths, recipes), None
    except (LoramergeError, OSError) as error:
        return [], failure(error, verbose=verbose)


def folders(paths: Sequence[str]) -> list[str]:
    """Those of the paths that are folders of recipes."""
    return [path for path in paths if os.path.isdir(path)]  # noqa: PTH112  which takes any text


def refuse_without_folder(paths: Sequence[str]) -> None:
    """Go on only if a folder tells which recipes there are.

    Raises:
        UsageError: There is none.
    """
    if not folders(paths):
        raise UsageError(
            "--prune needs the folder of the recipes: it tells which of them are gone",
            hint="name the folder instead of single files",
        )


def _of(folder: Path, recipes: Sequence[NamedRecipe]) -> Iterator[Orphaned]:
    from loramerge.provenance.git import home_of
    from loramerge.stages.keep import discard, kept_orphans

    here = [each for each in recipes if Path(each.path).resolve().parent == folder]
    if unread := [each.path for each in here if each.recipe is None]:
        console.note(f"{some(unread)} can't be read, so nobody knows which recipes of {folder} are gone")
        return
    names = {each.recipe.name for each in here if each.recipe}
    home = home_of(folder)
    seen: set[str] = set()
    for each in here:
        for target in each.recipe.publish if each.recipe else ():
            place = target.shelf(folder)
            if place is not None and place not in seen:
                seen.add(place)
                for orphan in target.orphans(home, names, folder):
                    yield Orphaned(orphan, partial(target.prune, orphan, folder))
    for orphan in kept_orphans(home, {each.recipe.name for each in recipes if each.recipe}):
        if not any(_uses(each.recipe, Path(orphan.place)) for each in recipes if each.recipe):
            yield Orphaned(orphan, partial(discard, orphan))


def _uses(recipe: Recipe, place: Path) -> bool:
    """Whether a recipe is made of what lies in an artifact; whoever can't be asked may be."""
    from loramerge.stages.resolve import local_sources

    try:
        return any(path.resolve().is_relative_to(place) for path in local_sources(recipe))
    except (LoramergeError, OSError, RuntimeError):
        return True
