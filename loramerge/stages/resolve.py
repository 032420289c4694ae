"""Stage: find out what every source of a recipe is at this moment, and which of its files are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge import sources
from loramerge.base import config_files
from loramerge.formats.reading import lora_files
from loramerge.pipeline_files import pipeline_files
from loramerge.progress import Progress, Silent
from loramerge.recipe.outputs import PipelineOutput

if TYPE_CHECKING:
    from loramerge.recipe import Lora, Recipe
    from loramerge.sources import Located


@dataclass(frozen=True)
class ResolvedLora:
    """A LoRA of the recipe and the files that make it up."""

    lora: Lora
    located: Located
    names: tuple[str, ...]


@dataclass(frozen=True)
class Resolved:
    """A recipe whose sources are known.

    Attributes:
        base: Where the base is.
        base_configs: Its files that say what it is.
        base_files: All of its files that a fused pipeline needs; empty where no output is one.
        variant: Of the base's weight files.
        loras: In the recipe's order.
    """

    base: Located
    base_configs: tuple[str, ...]
    base_files: tuple[str, ...]
    variant: str | None
    loras: tuple[ResolvedLora, ...]


def resolve(recipe: Recipe, *, progress: Progress | None = None) -> Resolved:
    """Ask every source what it holds. Nothing is fetched but listings.

    Raises:
        SourceError: A source is missing, refused, unreachable, or holds no base or LoRA.
    """
    progress = progress or Silent()
    progress.start("resolve", 1 + len(recipe.loras))
    base = sources.parse(recipe.base.source, folder=recipe.folder, revision=recipe.base.revision).locate()
    configs = config_files(base)
    weights_needed = recipe.preview is not None or any(isinstance(output, PipelineOutput) for output in recipe.outputs)
    files = pipeline_files(base, recipe.base.variant) if weights_needed else ()
    progress.advance()
    loras = []
    for lora in recipe.loras:
        source = sources.parse(lora.source, folder=recipe.folder, revision=lora.revision, sha256=lora.sha256)
        located = source.locate()
        loras.append(ResolvedLora(lora, located, lora_files(located.reference, located.files)))
        progress.advance()
    return Resolved(base, configs, files, recipe.base.variant, tuple(loras))
