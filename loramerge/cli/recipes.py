"""From what the command line names to recipes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.cli import console
from loramerge.documents.mistaken import LOCKS, RECIPES, loras_in, said_of_folder
from loramerge.errors import InvalidRecipeError, UsageError
from loramerge.files.reading import text_of
from loramerge.messages import counted

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe

_KEYS = ("version", "base", "loras", "merge")


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
        recipes = [file for file in files if _looks_like_a_recipe(file)]
        for file in sorted(set(files) - set(recipes)):
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
    given = tuple(read_named(path, overrides, locks=locks) for path in paths)
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


def read_named(path: str, overrides: Sequence[str], *, locks: bool) -> NamedRecipe:
    """Read one recipe, right or wrong.

    Args:
        path: One of `recipe_files`.
        overrides: As `--set` takes them.
        locks: Read the lock beside it as well.
    """
    from loramerge import read_recipe

    recipe = None
    try:
        recipe = read_recipe(path, overrides=overrides)
        return NamedRecipe(path, recipe, lock_beside(path) if locks else None)
    except InvalidRecipeError as error:
        return NamedRecipe(path, recipe, error=error)


def lock_beside(path: str) -> Lock | None:
    """The lock of a recipe's file, where there is one.

    Raises:
        InvalidRecipeError: It is no valid lock.
    """
    from loramerge.lock.model import place, read

    if path == "-":
        return None
    file = place(path)
    other = file.with_suffix(".yml")
    if other.exists():
        raise InvalidRecipeError(
            f"{other}: a lock is called {file.name}",
            hint=f"rename it, or remove it: `{shlex.join(['mv', str(other), str(file)])}`",
        )
    return read(file) if os.path.lexists(file) else None  # a link that leads nowhere is an error, not no lock


def recipes_of_locks(paths: Sequence[str]) -> tuple[str, ...]:
    """The paths, with the recipe in place of its lock.

    Raises:
        UsageError: The recipe of a lock is not there.
    """
    return tuple(_recipe_of(path) if path.endswith(LOCKS) else path for path in paths)


def _recipe_of(lock: str) -> str:
    stem = lock.removesuffix(".yaml").removesuffix(".yml").removesuffix(".lock")
    for ending in RECIPES:
        if Path(stem + ending).exists():
            return stem + ending
    raise UsageError(f"{lock} is the lock of {stem}.yaml, which is not there", hint="remove a lock with its recipe")


def _is_yaml(file: Path) -> bool:
    return file.is_file() and file.name.endswith(RECIPES) and not file.name.endswith(LOCKS) and file.name[0] != "."


def _looks_like_a_recipe(file: str) -> bool:
    """Whether it has two of a recipe's keys. A file that can't even be read counts: reading it says what is wrong."""
    from loramerge.documents import yaml_document

    try:
        data = yaml_document.load(text_of(Path(file)), origin=file).data
    except (OSError, ValueError, InvalidRecipeError):
        return True
    return isinstance(data, dict) and len(data.keys() & set(_KEYS)) > 1
