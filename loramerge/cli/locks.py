"""From recipes to their locks, and back."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.documents.cells import cell, file_and_name
from loramerge.documents.mistaken import LOCKS, RECIPES
from loramerge.errors import InvalidRecipeError, UsageError

if TYPE_CHECKING:
    from loramerge.lock.model import Lock


def lock_beside(path: str) -> Lock | None:
    """The lock of a recipe's file, where there is one.

    Raises:
        InvalidRecipeError: It is no valid lock.
    """
    from loramerge.lock.model import place, read

    if file_and_name(path)[0] == "-":
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


def recipe_of_lock(lock: str) -> str | None:
    """The file whose lock it is, or `FILE#NAME`; None where no such file is there."""
    stem = _stem_of(lock)
    file, mark, name = stem.rpartition("#")
    for ending in RECIPES:
        if Path(stem + ending).exists():
            return stem + ending
        if mark and Path(file + ending).exists():
            return cell(file + ending, name)
    return None


def has_lock(path: str) -> bool:
    """Whether a recipe's file, or one of the recipes that it stands for, has a lock beside it."""
    from loramerge.lock.model import place

    file, _ = file_and_name(path)
    several = f"{glob.escape(Path(file).stem)}#*.lock.yaml"
    return place(file).exists() or any(Path(file).parent.glob(several))


def what_is_gone(lock: str) -> str:
    """What a lock without its recipe was made for, behind its name."""
    if (found := recipe_of_lock(lock)) is not None:
        file, name = file_and_name(found)
        return f"is the lock of {name}, for which {file} does not stand"
    return f"is the lock of {_stem_of(lock)}.yaml, which is not there"


def _recipe_of(lock: str) -> str:
    if (found := recipe_of_lock(lock)) is not None:
        return found
    raise UsageError(f"{lock} {what_is_gone(lock)}", hint="remove a lock with its recipe")


def _stem_of(lock: str) -> str:
    return lock.removesuffix(".yaml").removesuffix(".yml").removesuffix(".lock")
