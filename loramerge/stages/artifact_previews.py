"""Stage: the pictures of an artifact."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.artifact.contents import CARD_SHEET, PREVIEW, SHEET
from loramerge.files.writing import writing
from loramerge.previews.checks import check, size_of
from loramerge.previews.columns import columns_of
from loramerge.previews.contact_sheet import Row, sheet
from loramerge.previews.out_of_memory import MemoryShortageError, naming_shortage
from loramerge.previews.png import save, save_for_card
from loramerge.previews.render import Drawing, render

if TYPE_CHECKING:
    from loramerge.progress import Progress
    from loramerge.recipe import Recipe
    from loramerge.stages.combine import Combined
    from loramerge.stages.load import Loaded


_MERGED = re.compile(r"(\d+)-merged\.png")


def check_preview(recipe: Recipe, loaded: Loaded) -> None:
    """Raise what is wrong with a recipe's preview before anything is merged.

    Raises:
        MismatchError: The base can't draw it.
        SourceError: A tokenizer or config of the base can't be read.
    """
    if recipe.preview is not None:
        check(loaded.base_files.folder, loaded.base, recipe.preview)


def draw(
    folder: Path, recipe: Recipe, loaded: Loaded, combined: Combined, progress: Progress | None = None
) -> tuple[str, ...]:
    """Draw what the recipe's preview asks for; the merge by the pipeline that was written, where there is one.

    Where the memory does not suffice the artifact stays without pictures: what was merged is worth more.

    Args:
        folder: The artifact's; its outputs are written.
        recipe: Without a preview nothing is drawn.
        loaded: The base with its weights, and the LoRAs.
        combined: The merge, and the device to draw on.
        progress: Told of every picture.

    Returns:
        What the reader of the artifact should know, in words.

    Raises:
        LoramergeError: A file can't be written.
        SourceError: The base can't be loaded as a pipeline.
    """
    if recipe.preview is None:
        return ()
    place = folder / PREVIEW
    size = size_of(loaded.base_files.folder, loaded.base, recipe.preview)
    fused = folder / recipe.fused.folder if recipe.fused else None
    columns = columns_of(recipe, loaded, fused=fused)
    drawing = Drawing(columns, recipe.preview, size, place, combined.device)
    try:
        with writing(place):
            place.mkdir()
            notes = render(drawing, loaded.base, combined.adapter, progress).notes
            with naming_shortage(recipe.preview, size, combined.device):
                write_sheet(drawing, recipe.name)
    except MemoryShortageError as error:
        shutil.rmtree(place)
        return (f"there are no pictures: {error.message}; {error.hint}, and run it again with --rebuild",)
    return notes


def as_drawn(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe as its artifact turned out: without a preview where there are no pictures."""
    return recipe if (folder / PREVIEW / SHEET).exists() else recipe.model_copy(update={"preview": None})


def picture_of_merge(folder: Path) -> Path | None:
    """The first picture that the merge drew; None where there are no pictures.

    Args:
        folder: The artifact's.
    """
    found = {int(match[1]): path for path in (folder / PREVIEW).glob("*.png") if (match := _MERGED.match(path.name))}
    return found[min(found)] if found else None


def write_sheet(drawing: Drawing, name: str) -> None:
    """Write the contact sheet, with the settings of its pictures, and a smaller one for the model card.

    Args:
        drawing: All of its pictures are there.
        name: The recipe's.

    Raises:
        LoramergeError: A file can't be written.
    """
    rows = [Row(row.label, [drawing.path(column, row) for column in drawing.columns]) for row in drawing.rows]
    page = sheet([column.label for column in drawing.columns], rows)
    settings = {
        "recipe": name,
        "columns": json.dumps([dict(column.settings) for column in drawing.columns], ensure_ascii=False),
        "rows": json.dumps([{"prompt": row.prompt, "seed": row.seed} for row in drawing.rows], ensure_ascii=False),
        **drawing.common,
    }
    save(page, drawing.folder / SHEET, settings)
    save_for_card(page, drawing.folder / CARD_SHEET)
