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

    if path == "-" or path.startswith(cell("-", "")):
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
    stem = lock.removesuffix(".yaml").removesuffix(".yml").removesuffix(".lock")
    parts = Path(stem).name.split(".")
    for count in range(len(parts), 0, -1):
        file = str(Path(stem).with_name(".".join(parts[:count])))
        for ending in RECIPES:
            if Path(file + ending).exists():
                return cell(file + ending, ".".join(parts[count:])) if parts[count:] else file + ending
    return None


def has_lock(path: str) -> bool:
    """Whether a recipe's file, or one of the recipes that it stands for, has a lock beside it."""
    from loramerge.lock.model import place

    file = Path(file_and_name(path)[0])
    return place(path).exists() or any(file.parent.glob(f"{glob.escape(file.stem)}.*.lock.yaml"))


def _recipe_of(lock: str) -> str:
    if (found := recipe_of_lock(lock)) is not None:
        return found
    stem = lock.removesuffix(".yaml").removesuffix(".yml").removesuffix(".lock")
    raise UsageError(f"{lock} is the lock of {stem}.yaml, which is not there", hint="remove a lock with its recipe")
