"""Stage: what killed runs of a recipe left beside its artifact and in its targets goes away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.files.run_lock import in_turn, was_left

if TYPE_CHECKING:
    from loramerge.progress import Progress
    from loramerge.recipe import Recipe


def tidy(recipe: Recipe, place: Path, *, publishing: bool = True, progress: Progress | None = None) -> None:
    """Remove it, also where there is nothing else to do: whoever was killed at the very end had done everything else.

    Args:
        recipe: Names the targets.
        place: The artifact's folder.
        publishing: False leaves the targets alone.
        progress: Told of what is removed.

    Raises:
        LoramergeError: A target can be no folder.
    """
    if was_left(place):
        with in_turn(place, progress):  # removes them
            pass
    for target in recipe.publish if publishing else ():
        target.tidy(recipe.name, recipe.folder, progress)
