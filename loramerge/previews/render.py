"""Draw every row of every column, one file after the other, and nothing that is there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.artifact.environment import environment
from loramerge.bases.quiet import quiet
from loramerge.previews.out_of_memory import naming_shortage
from loramerge.previews.pipeline import DrawingPipeline
from loramerge.previews.png import is_finished, save
from loramerge.previews.prompts import Shot, batches, shots
from loramerge.progress import Progress, Silent

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.bases.base import Base
    from loramerge.previews.columns import ActiveLora, Column, PipelineFolder
    from loramerge.recipe import Preview


@dataclass(frozen=True)
class Drawing:
    """What is to be drawn, and where to.

    Attributes:
        columns: In the order of the sheet.
        preview: Prompts, seeds and how to draw.
        size: Width and height in pixels.
        folder: Where the files go.
        device: `cpu` or `cuda`.
    """

    columns: Sequence[Column]
    preview: Preview
    size: tuple[int, int]
    folder: Path
    device: str

    @property
    def rows(self) -> tuple[Shot, ...]:
        """The rows of pictures."""
        return shots(self.preview)

    def path(self, column: Column, row: Shot) -> Path:
        """The file of one picture."""
        return self.folder / f"{row.number}-{column.name}.png"

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of all pictures."""
        return tuple(self.path(column, row) for row in self.rows for column in self.columns)

    def settings(self, column: Column, row: Shot) -> Mapping[str, str]:
        """What a picture says of itself. Two pictures that say the same are the same."""
        return {
            **column.settings,
            "prompt": row.prompt,
            "seed": str(row.seed),
            **self.common,
        }

    @property
    def common(self) -> Mapping[str, str]:
        """What all pictures say of themselves."""
        preview = self.preview
        return {
            "negative_prompt": preview.negative_prompt,
            "steps": str(preview.steps),
            "guidance_scale": str(preview.guidance_scale),
            "width": str(self.size[0]),
            "height": str(self.size[1]),
            "batch_size": str(preview.batch_size),
            "vae_tiling": str(preview.memory == "tiled").lower(),
            "compile": str(preview.compile).lower(),
            "environment": ", ".join(f"{key} {value}" for key, value in environment(self.device).items()),
        }

    @property
    def needs_merge(self) -> bool:
        """Whether a column that has to be drawn draws with the merged LoRA."""
        return any(column.merge_at is not None and self.waiting(column) for column in self.columns)

    def waiting(self, column: Column) -> tuple[Sequence[Shot], ...]:
        """The batches that have to be drawn: whole ones, since bytes may depend on what is drawn together."""
        return tuple(
            batch
            for batch in batches(self.rows, self.preview.batch_size)
            if not all(is_finished(self.path(column, row), self.settings(column, row)) for row in batch)
        )


@dataclass(frozen=True)
class Drawn:
    """What came of it.

    Attributes:
        count: How many pictures were drawn; the others were there.
        notes: What the reader of the pictures should know, in words.
    """

    count: int
    notes: tuple[str, ...]


class Rendering:
    """Draws columns one after the other, by one pipeline at a time; the same one as long as columns share it.

    Every row starts from the same noise in all columns. Files carry no time stamps: the same pictures are the same
    bytes.

    Args:
        drawing: What to draw.
        base: What the LoRAs were fitted to.
        progress: Told of every picture.
    """

    def __init__(self, drawing: Drawing, base: Base, progress: Progress | None = None) -> None:
        self._drawing, self._base, self._progress = drawing, base, progress or Silent()
        self._waiting = {column.name: batches for column in drawing.columns if (batches := drawing.waiting(column))}
        self._count = sum(len(batch) for batches in self._waiting.values() for batch in batches)
        self._progress.start("preview", self._count)
        self._notes: dict[str, None] = {}
        self._pipeline: DrawingPipeline | None = None
        self._source: PipelineFolder | None = None

    def close(self) -> None:
        """Give the pipeline's memory back."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of which a picture is missing."""
        return tuple(column for column in self._drawing.columns if column.name in self._waiting)

    @property
    def drawn(self) -> Drawn:
        """What came of it."""
        return Drawn(self._count, tuple(self._notes))

    def draw(self, column: Column, merged: Adapter | None = None) -> None:
        """Draw what is missing of a column.

        Args:
            column: One of the drawing's.
            merged: The merged LoRA, where the column draws with it.

        Raises:
            SourceError: A folder can't be loaded as a pipeline.
            MemoryShortageError: There is too little memory; what was drawn stays.
            LoramergeError: A file can't be written.
        """
        drawing = self._drawing
        loras, later = column.loras(merged), self._inputs_after(column)
        with naming_shortage(drawing.preview, drawing.size, drawing.device):
            pipeline = self._pipeline_for(column)
            self._notes |= dict.fromkeys(pipeline.set_loras(loras, later))
        for batch in self._waiting[column.name]:
            with naming_shortage(drawing.preview, drawing.size, drawing.device):
                pictures = pipeline.draw(batch, drawing.size)
            for row, picture in zip(batch, pictures, strict=True):
                save(picture, drawing.path(column, row), drawing.settings(column, row))
                self._progress.advance()

    def _inputs_after(self, column: Column) -> set[ActiveLora]:
        """The recipe's LoRAs that columns draw with which come after this one."""
        following = self.columns[list(self._waiting).index(column.name) + 1 :]
        return {lora for each in following for lora in each.inputs}

    def _pipeline_for(self, column: Column) -> DrawingPipeline:
        if self._pipeline is not None and column.source == self._source:
            return self._pipeline
        self.close()
        self._pipeline = DrawingPipeline(column.source, self._base, self._drawing.preview, self._drawing.device)
        self._source = column.source
        return self._pipeline


@contextmanager
def rendering(drawing: Drawing, base: Base, progress: Progress | None = None) -> Iterator[Rendering]:
    """What draws a drawing, inside a `with`.

    Args:
        drawing: What to draw.
        base: What the LoRAs were fitted to.
        progress: Told of every picture.
    """
    with quiet():
        made = Rendering(drawing, base, progress)
        try:
            yield made
        finally:
            made.close()


def render(drawing: Drawing, base: Base, merged: Adapter | None, progress: Progress | None = None) -> Drawn:
    """Draw what is not there yet.

    Args:
        drawing: What to draw.
        base: What the LoRAs were fitted to.
        merged: The merged LoRA, where a column that has to be drawn draws with it.
        progress: Told of every picture.

    Raises:
        SourceError: A folder can't be loaded as a pipeline.
        MemoryShortageError: There is too little memory; what was drawn stays.
        LoramergeError: A file can't be written.
    """
    with rendering(drawing, base, progress) as made:
        for column in made.columns:
            made.draw(column, merged)
        return made.drawn
