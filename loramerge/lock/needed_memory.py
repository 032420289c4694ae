"""How much memory a run takes, as far as the recipe and its lock tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe

_MERGE = 1 << 30
"""Bytes that a merge takes at most; what draws takes the base in float32 as well."""


def needed_memory(recipe: Recipe | None, lock: Lock | None) -> int:
    """Bytes that a run takes at most.

    Args:
        recipe: None where it can't be read.
        lock: What its sources are; None where that is not known yet.
    """
    if recipe is None or recipe.preview is None:
        return _MERGE
    locked = lock.sources.base if lock else None
    return _MERGE + 2 * (sum(file.size for file in locked.files.values()) if locked else 0)
