"""Pictures of one trial after the other, by one pipeline that is loaded once, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loramerge.bases.quiet import quiet
from loramerge.previews.checks import check
from loramerge.previews.columns import ActiveLora, PipelineFolder
from loramerge.previews.out_of_memory import naming_shortage
from loramerge.previews.pipeline import DrawingPipeline
from loramerge.previews.prompts import batches, shots
from loramerge.progress import Progress, Silent
from loramerge.search.judged import Picture

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.recipe import Preview, Recipe
    from loramerge.stages.load import Loaded


class Easel:
    """Draws what a recipe's preview asks for.

    Args:
        recipe: Says at which scale a merge is drawn: that at which one would be fused.
        preview: What to draw.
        loaded: The base with its weights, and the LoRAs.
        device: `cpu` or `cuda`.

    Raises:
        SourceError: The base can't be loaded as a pipeline.
        MismatchError: It can't draw what the recipe wants.
    """

    def __init__(self, recipe: Recipe, preview: Preview, loaded: Loaded, device: str) -> None:
        self._loaded, self._preview, self._device = loaded, preview, device
        self._size = check(loaded.base_files.folder, loaded.base, preview)
        fused = recipe.fused
        self._scale = 1.0 if fused is None or fused.fused_at is None else fused.fused_at
        source = PipelineFolder(loaded.base_files.folder, loaded.base_files.variant)
        self.notes: dict[str, None] = {}
        with quiet(), naming_shortage(preview, self._size, device):
            self._pipeline = DrawingPipeline(source, loaded.base, preview, device)

    def merge(self, merged: Adapter) -> Sequence[Picture]:
        """Draw with a merge."""
        return self._draw([ActiveLora("the merge", merged, self._scale)])

    def inputs(self, progress: Progress | None = None) -> tuple[Sequence[Picture], dict[str, Sequence[Picture]]]:
        """(the base's pictures, name of a LoRA → its own at its weight), from the same noise.

        Args:
            progress: Told of each.
        """
        progress, loras = progress or Silent(), self._loaded.loras
        progress.start("draw each LoRA alone", 1 + len(loras))
        base, own = self._draw([]), {}
        progress.advance()
        for lora in loras:
            own[lora.name] = self._draw([ActiveLora.at(lora.name, lora.adapter, lora.weight, self._loaded.base)])
            progress.advance()
        return base, own

    def close(self) -> None:
        """Give the pipeline's memory back."""
        self._pipeline.close()

    def _draw(self, loras: Sequence[ActiveLora]) -> Sequence[Picture]:
        """The pictures of all rows; what diffusers leaves out of the LoRAs joins the notes.

        Raises:
            MemoryShortageError: There is too little memory.
        """
        found: list[Picture] = []
        with quiet(), naming_shortage(self._preview, self._size, self._device):
            self.notes |= dict.fromkeys(self._pipeline.set_loras(loras))
            for batch in batches(shots(self._preview), self._preview.batch_size):
                drawn = self._pipeline.draw(batch, self._size)
                found += [Picture(row.prompt, row.seed, image) for row, image in zip(batch, drawn, strict=True)]
        return found
