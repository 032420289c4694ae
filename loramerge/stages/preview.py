"""Stage: pictures of a recipe, without its artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.artifact.contents import CARD_SHEET, SHEET
from loramerge.previews.columns import columns_of
from loramerge.previews.out_of_memory import naming_shortage
from loramerge.previews.render import Drawing, render
from loramerge.reports.report import poor_fidelity
from loramerge.stages.artifact_previews import write_sheet
from loramerge.stages.combine import check_combination, combine, weighted
from loramerge.stages.preview_inputs import keeping, prepared

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.lock.model import Lock
    from loramerge.progress import Progress
    from loramerge.recipe import Recipe


@dataclass(frozen=True)
class Previewed:
    """Pictures in a folder.

    Attributes:
        folder: Where they are.
        sheets: Contact sheets, or one grid for each prompt and seed.
        pictures: The single pictures.
        drawn: How many of them were drawn now; the others were there.
        warnings: What the user should know, in words.
    """

    folder: Path
    sheets: tuple[Path, ...]
    pictures: tuple[Path, ...]
    drawn: int
    warnings: tuple[str, ...]


def preview(
    recipe: Recipe,
    *,
    lock: Lock | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Previewed:
    """Draw what a recipe's preview asks for: by the base, each LoRA alone, all of them stacked, and the merge.

    Pictures that are there already, drawn of the same inputs with the same settings and versions, are kept.

    Args:
        recipe: As `read_recipe` returns it.
        lock: What the recipe's sources have to be; by default what they are.
        out: The folder of the pictures; `dist/<name>-preview` below the current folder by default.
        device: `auto`, `cpu` or `cuda`.
        progress: Told of every step.

    Raises:
        LoramergeError: With the exit code of what went wrong; pictures that were finished stay.
    """
    ready = prepared(recipe, lock, out or Path("dist") / f"{recipe.name}-preview", device, progress)
    loaded, place = ready.loaded, ready.place
    loras = weighted(loaded)
    check_combination(loras, loaded.base, recipe.merge)
    drawing = Drawing(columns_of(recipe, loaded), ready.preview, ready.size, place, ready.device)
    sheets = (place / SHEET, place / CARD_SHEET)
    with keeping(drawing, sheets, progress):
        merged: Adapter | None = None
        notes: tuple[str, ...] = ()
        if drawing.needs_merge:
            combined = combine(loras, loaded.base, recipe.merge, device=device)
            merged, notes = combined.adapter, (*combined.notes, *poor_fidelity(recipe.merge, combined.fidelity))
        drawn = render(drawing, loaded.base, merged, progress)
        with naming_shortage(ready.preview, ready.size, ready.device):
            write_sheet(drawing, recipe.name)
    return Previewed(place, sheets, drawing.paths, drawn.count, (*loaded.notes, *notes, *drawn.notes))
