"""Stage: what the LoRAs of a recipe that names no base were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge import sources
from loramerge.progress import Progress, Silent
from loramerge.recipe.parts import BaseSource
from loramerge.stages.probe import Headers, told_base
from loramerge.stages.resolve import chosen_files

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Lora, Recipe


def with_base(recipe: Recipe, lock: Lock | None = None, *, progress: Progress | None = None) -> Recipe:
    """The recipe itself where it names a base; else with the one that its lock has, or that its LoRAs tell.

    Only headers are read, those of LoRAs on a Hub by requests for a range.

    Args:
        recipe: Names the LoRAs.
        lock: What they are. It says what they told when it was written, whatever else is known by now.
        progress: Told of every LoRA.

    Raises:
        SourceError: A LoRA can't be had or read.
        MismatchError: They are of several families, or could be: nothing says which.
    """
    if recipe.base != BaseSource():
        return recipe
    locked = lock.sources if lock else None
    if locked is not None and locked.base is not None:
        return recipe.with_base(BaseSource(source=locked.base.source, revision=locked.base.revision))
    if locked is not None and locked.family is not None:
        return recipe.with_base(BaseSource(family=locked.family))
    progress = progress or Silent()
    progress.start("base", len(recipe.loras))
    found = []
    for lora in recipe.loras:
        found.append(_headers(recipe, lora))
        progress.advance()
    return recipe.with_base(told_base(found, recipe.folder))


def _headers(recipe: Recipe, lora: Lora) -> Headers:
    source = sources.parse(lora.source, folder=recipe.folder, revision=lora.revision, sha256=lora.sha256)
    located = source.locate()
    names, _ = chosen_files(located, None)
    with located.outlines(names) as folder:
        return Headers.at(located.reference, folder, names)
