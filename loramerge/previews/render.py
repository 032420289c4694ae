"""Draw every row of every column, one file after the other, and nothing that is there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.artifact.environment import environment
from loramerge.bases.quiet import quiet
from loramerge.previews.out_of_memory import naming_shortage
from loramerge.previews.pipeline import Painter
from loramerge.previews.png import is_finished, save
from loramerge.previews.prompts import Shot, batches, shots
from loramerge.progress import Progress, Silent

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.previews.columns import Column
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


def render(drawing: Drawing, base: Base, progress: Progress | None = None) -> Drawn:
    """Draw what is not there yet. Every row starts from the same noise in all columns.

    A pipeline is loaded once for all columns that it draws, and one at a time. Files carry no time stamps: the same
    pictures are the same bytes.

    Args:
        drawing: What to draw.
        base: What the LoRAs were fitted to.
        progress: Told of every picture.

    Raises:
        SourceError: A folder can't be loaded as a pipeline.
        MemoryShortageError: There is too little memory; what was drawn stays.
        LoramergeError: A file can't be written.
    """
    progress = progress or Silent()
    waiting = [(column, batches) for column in drawing.columns if (batches := drawing.waiting(column))]
    count = sum(len(batch) for _, batches in waiting for batch in batches)
    progress.start("preview", count)
    notes: dict[str, None] = {}
    painter = source = None
    with quiet():
        for column, column_batches in waiting:
            worn = column.worn()
            with naming_shortage(drawing.preview, drawing.size, drawing.device):
                if painter is None or column.source != source:
                    if painter is not None:
                        painter.close()
                    painter, source = Painter(column.source, drawing.preview, drawing.device), column.source
                notes |= dict.fromkeys(painter.wear(worn, base))
            for batch in column_batches:
                with naming_shortage(drawing.preview, drawing.size, drawing.device):
                    pictures = painter.draw(batch, drawing.size)
                for row, picture in zip(batch, pictures, strict=True):
                    save(picture, drawing.path(column, row), drawing.settings(column, row))
                    progress.advance()
        if painter is not None:
            painter.close()
    return Drawn(count, tuple(notes))
