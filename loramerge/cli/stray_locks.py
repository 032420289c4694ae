"""Locks that lost their recipe: it was renamed or removed, and runs without them since."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loramerge.cli.locks import recipe_of_lock, what_is_gone
from loramerge.cli.recipes import read_named
from loramerge.cli.summary import near
from loramerge.documents.cells import file_and_name
from loramerge.errors import InvalidRecipeError

_ENDING = ".lock.yaml"


@dataclass(frozen=True)
class StrayLock:
    """A lock without its recipe.

    Attributes:
        lock: Its file, as seen from the current folder.
        message: What it is and what to do, in words.
    """

    lock: str
    message: str

    @property
    def data(self) -> dict[str, Any]:
        """The same as plain data, as a part of what a command says of recipes."""
        return {"recipe": None, "lock": self.lock, "message": self.message}


def stray_locks(paths: Sequence[str], unlocked: Mapping[str, str]) -> list[StrayLock]:
    """All of them.

    Args:
        paths: What the command line names; of a folder every lock is looked at, beside a file those of its recipe.
        unlocked: Name → file of each recipe without a lock.
    """
    folders = {Path(path).resolve() for path in paths if os.path.isdir(path)}  # noqa: PTH112  which takes any text
    beside = {Path(path).resolve().parent for path in unlocked.values()}
    names: dict[str, set[str] | None] = {}
    return [
        StrayLock(near(lock), said)
        for folder in sorted(folders | beside)
        for lock in sorted(folder.glob(f"*{_ENDING}"))
        if not _has_recipe(lock, names)
        for said in _said(lock, unlocked, named=folder in folders)
    ]


def _has_recipe(lock: Path, names: dict[str, set[str] | None]) -> bool:
    """Whether the recipe that a lock was made for is there.

    Args:
        lock: Its file.
        names: File → the names of the recipes that it stands for; None where it can't be read, and may stand for any.
    """
    if (path := recipe_of_lock(str(lock))) is None:
        return False
    file, name = file_and_name(path)
    if name is None:
        return True
    if file not in names:
        read = read_named(file, (), locks=False)
        names[file] = None if any(each.error for each in read) else {str(each.name) for each in read}
    known = names[file]
    return known is None or name in known


def _said(lock: Path, unlocked: Mapping[str, str], *, named: bool) -> Iterator[str]:
    from loramerge.lock.model import place, read

    try:
        recipe = unlocked.get(read(lock).recipe)
    except InvalidRecipeError:
        recipe = None
    gone = f"{near(lock)} {what_is_gone(near(lock))}"
    if recipe is not None:
        move = shlex.join(["mv", near(lock), near(place(recipe).resolve())])
        yield f"{gone}, and {recipe} is its recipe: `{move}`"
    elif named:
        yield f"{gone}: remove it, or bring the recipe back"
