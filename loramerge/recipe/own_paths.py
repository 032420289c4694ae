"""Paths that lie in the recipe's folder, spelt from there: what is published names no folder of this machine."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loramerge.recipe.model import Recipe


def from_here(data: Any, folder: Path) -> None:
    """Spell the sources and folders of a recipe from the recipe's own folder, where they lie in it.

    Args:
        data: The recipe as its file has it, right or wrong; it is changed.
        folder: The recipe's.
    """
    if not folder.is_absolute():
        return
    inside = _inside(folder)
    for entry, key in _paths(data):
        if found := inside.match(entry[key]):
            entry[key] = entry[key][found.end() :]


def text_from_here(text: str, folder: Path) -> str:
    """The same in the recipe's text."""
    if not folder.is_absolute():
        return text
    return re.sub(rf"(?<![\w./~-]){_inside(folder).pattern}", "", text)


def private_paths(recipe: Recipe) -> tuple[str, ...]:
    """Absolute paths that a recipe names, and its artifact with it: others learn from them where things lie here."""
    folders = (target.spelling for target in recipe.publish if target.reference is None)
    return tuple(dict.fromkeys(each for each in (*recipe.sources, *folders) if PurePath(each).is_absolute()))


def _inside(folder: Path) -> re.Pattern[str]:
    """The folder before what is still a path without it: no home folder, no address."""
    return re.compile(rf"{re.escape(str(folder))}/+(?=[\w.])(?![A-Za-z][A-Za-z0-9+.-]+:)")


def _paths(data: Any) -> list[tuple[dict[str, Any], str]]:
    if not isinstance(data, dict):
        return []
    lists = [entries for name in ("loras", "publish") if isinstance(entries := data.get(name), list)]
    entries = [data.get("base"), *(entry for each in lists for entry in each)]
    entries += [entry.get(key) for entry in entries if isinstance(entry, dict) for key in ("source", "extract")]
    return [
        (entry, key)
        for entry in entries
        if isinstance(entry, dict)
        for key in ("source", "config", "path", "from", "transformer", "transformer_2")
        if isinstance(entry.get(key), str)
    ]
