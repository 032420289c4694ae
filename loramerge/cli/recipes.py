"""From what the command line names to recipes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.cli import console
from loramerge.cli.locks import lock_beside
from loramerge.documents.cells import cell, file_and_name
from loramerge.documents.mistaken import LOCKS, RECIPES, loras_in, said_of_folder
from loramerge.errors import InvalidRecipeError, UsageError
from loramerge.files.reading import text_of
from loramerge.messages import counted, some

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe

_KEYS = ("version", "base", "loras", "merge", "matrix")
_DEFAULTS = "defaults"


def recipe_files(paths: Sequence[str]) -> tuple[str, ...]:
    """The recipes that files, folders and `-` stand for, each once.

    A folder stands for the recipes that lie directly in it; of its other YAML files a note is made, locks aside.

    Raises:
        UsageError: A folder has no recipe.
    """
    found: dict[str, None] = {}
    known: set[Path] = set()
    for path in paths:
        if path == "-" or not os.path.isdir(path):  # noqa: PTH112  which takes any text
            if _place_of(path) not in known:
                found[path] = None
            known.add(_place_of(path))
            continue
        files = [str(file) for file in sorted(Path(path).iterdir()) if _is_yaml(file)]
        like, beside = _sorted_out(files)
        recipes = [file for file in like if file not in beside]
        for file in sorted(set(files) - set(like) - beside):
            console.note(f"{file}: no recipe, passed over")
        if not recipes:
            what = f", but {counted(len(loras), 'LoRA')}" if (loras := loras_in(Path(path))) else ""
            raise UsageError(f"{path} holds no recipe{what}", hint=said_of_folder(Path(path)))
        found |= dict.fromkeys(recipe for recipe in recipes if _place_of(recipe) not in known)
        known |= {_place_of(recipe) for recipe in recipes}
    return tuple(found)


def _place_of(path: str) -> Path:
    """The file that is meant, however it is spelt; what can't be followed is named when it is read."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError):  # links in a circle
        return Path(path).absolute()


@dataclass(frozen=True)
class NamedRecipe:
    """What the command line names: a recipe and the lock beside it, or why they can't be read."""

    path: str
    recipe: Recipe | None
    lock: Lock | None = None
    error: InvalidRecipeError | None = None

    @property
    def name(self) -> str | None:
        """The recipe's, where it could be read."""
        return self.recipe.name if self.recipe else None

    def readable(self) -> Recipe:
        """The recipe, if it and its lock could be read.

        Raises:
            InvalidRecipeError: They could not.
        """
        if self.recipe is None or self.error is not None:
            raise self.error or InvalidRecipeError(f"{self.path} can't be read")
        return self.recipe


def read_each(paths: Sequence[str], overrides: Sequence[str], *, locks: bool) -> tuple[NamedRecipe, ...]:
    """Read recipes, all of them before anything is done with the first.

    Args:
        paths: As `recipe_files` gives them.
        overrides: As `--set` takes them.
        locks: Read the locks beside them as well.

    Raises:
        UsageError: Two recipes have the same name, so that one artifact would replace the other.
    """
    read = [each for path in paths for each in read_named(path, overrides, locks=locks)]
    given = tuple({(_place_of(each.path), each.error): each for each in reversed(read)}.values())[::-1]
    names: dict[str, str] = {}
    for each in given:
        earlier = names.setdefault(each.recipe.name, each.path) if each.recipe else each.path
        if each.recipe and earlier != each.path:
            raise UsageError(
                f"{earlier} and {each.path} are both called {each.recipe.name}: "
                "the second would replace the first's artifact",
                hint="run them one by one with --out, or rename one",
            )
    return given


def unlocked(given: Sequence[NamedRecipe]) -> dict[str, str]:
    """Name → file of each recipe that was read from one and has no lock."""
    return {each.recipe.name: each.path for each in given if each.recipe and each.recipe.path and each.lock is None}


def read_all(paths: Sequence[str], overrides: Sequence[str]) -> tuple[tuple[str, Recipe], ...]:
    """Read recipes without their locks.

    Raises:
        InvalidRecipeError: With the mistakes of every recipe.
        UsageError: Two recipes have the same name, so that one artifact would replace the other.
    """
    given = read_each(paths, overrides, locks=False)
    refuse_mistakes(given)
    return tuple((each.path, each.recipe) for each in given if each.recipe)


def refuse_several(given: Sequence[object], option: str) -> None:
    """Go on only if there is one recipe, as an option wants it.

    Raises:
        UsageError: There are more.
    """
    if len(given) > 1:
        raise UsageError(f"{option} is for one recipe, these are {len(given)}", hint="leave it out, or name one recipe")


def refuse_mistakes(given: Sequence[NamedRecipe]) -> None:
    """Go on only if everything could be read.

    Raises:
        InvalidRecipeError: With the mistakes of every recipe and lock.
    """
    errors = [each.error for each in given if each.error]
    if errors:
        raise InvalidRecipeError("\n".join(error.message for error in errors), hint=errors[0].hint)


def read_one(path: str, overrides: Sequence[str], *, locks: bool) -> NamedRecipe:
    """Read the recipe of a command that takes one.

    Args:
        path: A file, `-`, or `FILE#NAME`.
        overrides: As `--set` takes them.
        locks: Read the lock beside it as well.

    Raises:
        UsageError: The file stands for several.
    """
    given = read_named(path, overrides, locks=locks)
    if len(given) > 1:
        names = [each.path for each in given]
        raise UsageError(
            f"{path} stands for {counted(len(given), 'recipe')}, and one is wanted: {some(names)}",
            hint=f"name one of them: {shlex.quote(names[0])}",
        )
    return given[0]


def read_named(path: str, overrides: Sequence[str], *, locks: bool) -> tuple[NamedRecipe, ...]:
    """Read what one path stands for, right or wrong: a recipe, or all those of a file with a matrix.

    Args:
        path: One of `recipe_files`.
        overrides: As `--set` takes them.
        locks: Read the locks beside it as well.
    """
    from loramerge import read_recipes

    file, _ = file_and_name(path)
    try:
        recipes = read_recipes(path, overrides=overrides)
    except InvalidRecipeError as error:
        return (NamedRecipe(path, None, error=error),)
    each = ((cell(file, recipe.name) if recipe.is_one_of_several else file, recipe) for recipe in recipes)
    return tuple(_with_lock(called, recipe, locks=locks) for called, recipe in each)


def _with_lock(path: str, recipe: Recipe, *, locks: bool) -> NamedRecipe:
    try:
        return NamedRecipe(path, recipe, lock_beside(path) if locks else None)
    except InvalidRecipeError as error:
        return NamedRecipe(path, recipe, error=error)


def _is_yaml(file: Path) -> bool:
    return file.is_file() and file.name.endswith(RECIPES) and not file.name.endswith(LOCKS) and file.name[0] != "."


def _sorted_out(files: Sequence[str]) -> tuple[list[str], set[str]]:
    """Those of a folder's files that look like recipes, and those that recipes take something from.

    The former have two of a recipe's keys. A file that can't even be read counts: reading it says what is wrong.
    """
    from loramerge.documents import yaml_document
    from loramerge.recipe.neighbours import named_in

    like, beside = [], set()
    for file in files:
        try:
            data = yaml_document.load(text_of(Path(file)), origin=file).data
        except (OSError, ValueError, InvalidRecipeError):
            like.append(file)
            continue
        if isinstance(data, dict) and (_DEFAULTS in data or len(data.keys() & set(_KEYS)) > 1):
            like.append(file)
            beside |= {str(Path(file).with_name(name)) for name in named_in(data)} - {file}
    return like, beside
