"""Stage: pictures of a recipe's variants, side by side, without their artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loramerge.cluster.connect import check as check_cluster
from loramerge.errors import MismatchError
from loramerge.previews.contact_sheet import Row, sheet
from loramerge.previews.out_of_memory import naming_shortage
from loramerge.previews.png import save
from loramerge.previews.render import Drawing, Drawn, rendering
from loramerge.stages.combine import check_combination, combine
from loramerge.stages.grid_on_cluster import draw_on_cluster
from loramerge.stages.preview import Previewed
from loramerge.stages.preview_inputs import keeping, prepared
from loramerge.stages.variant_cells import cells_of, labels_of, loras_of

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.previews.columns import Column
    from loramerge.previews.prompts import Shot
    from loramerge.progress import Progress
    from loramerge.recipe.variants import Variants
    from loramerge.stages.load import Loaded


def grid(
    variants: Variants,
    *,
    lock: Lock | None = None,
    out: Path | str | None = None,
    on: Literal["ray"] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Previewed:
    """Draw the merge of every variant: one grid for each prompt and seed, from the same noise in all its cells.

    The sources are resolved and the base is loaded once. Pictures that are there already, drawn of the same inputs
    with the same settings and versions, are kept.

    Args:
        variants: As `read_variants` returns them.
        lock: What the recipe's sources have to be; by default what they are.
        out: The folder of the pictures; `dist/<name>-grid` below the current folder by default.
        on: Where they are drawn: `ray` for the cluster of RAY_ADDRESS, or one of this machine; here, if None.
        device: `auto`, `cpu` or `cuda`.
        progress: Told of every step.

    Raises:
        LoramergeError: With the exit code of what went wrong; pictures that were finished stay.
    """
    if on is not None:
        check_cluster()
    recipe = variants.first
    here = device if on is None else "cpu"
    ready = prepared(recipe, lock, out or Path("dist") / f"{recipe.name}-grid", here, progress)
    loaded, place = ready.loaded, ready.place
    _check_variants(variants, loaded)
    cells = cells_of(variants, loaded)
    drawing = Drawing([cell for row in cells for cell in row], ready.preview, ready.size, place, ready.device)
    sheets = tuple(place / f"grid-{row.number}.png" for row in drawing.rows)
    with keeping(drawing, sheets, progress):
        if on is not None:
            done = draw_on_cluster(variants, drawing, lock, device, progress)
            drawn, notes = Drawn(done.count, done.notes), dict[str, None]()
            common = {**drawing.common, "environment": " | ".join(done.environment)}
        else:
            drawn, notes = _drawn(variants, loaded, drawing, device, progress)
            common = {**drawing.common}
        for path, row in zip(sheets, drawing.rows, strict=True):
            with naming_shortage(ready.preview, ready.size, ready.device):
                _write(path, variants, drawing, cells, row, common)
    return Previewed(place, sheets, drawing.paths, drawn.count, (*loaded.notes, *notes, *drawn.notes))


def _check_variants(variants: Variants, loaded: Loaded) -> None:
    """Name every variant that can't be merged before anything is drawn."""
    mistakes = list(_mistakes(variants, loaded))
    if mistakes:
        raise MismatchError("\n".join(mistakes), hint="leave these values out")


def _mistakes(variants: Variants, loaded: Loaded) -> Iterator[str]:
    for row, labels in zip(variants.recipes, labels_of(variants), strict=True):
        for recipe, label in zip(row, labels, strict=True):
            try:
                check_combination(loras_of(recipe, loaded), loaded.base, recipe.merge)
            except MismatchError as error:  # noqa: PERF203  all of them are wanted
                yield f"{label}: {error.message}"


def _drawn(
    variants: Variants, loaded: Loaded, drawing: Drawing, device: str, progress: Progress | None
) -> tuple[Drawn, dict[str, None]]:
    """Draw the cells, one merge in memory at a time; what there is to say of the merges is said once."""
    recipes = dict(zip((cell.name for cell in drawing.columns), chain.from_iterable(variants.recipes), strict=True))
    notes: dict[str, None] = {}
    with rendering(drawing, loaded.base, progress) as made:
        for cell in made.columns:
            recipe = recipes[cell.name]
            combined = combine(loras_of(recipe, loaded), loaded.base, recipe.merge, device=device)
            notes |= dict.fromkeys(combined.notes)
            made.draw(cell, combined.adapter)
        return made.drawn, notes


def _write(
    path: Path,
    variants: Variants,
    drawing: Drawing,
    cells: Sequence[Sequence[Column]],
    row: Shot,
    common: Mapping[str, str],
) -> None:
    rows = [
        Row(label, [drawing.path(cell, row) for cell in line])
        for label, line in zip(variants.y.labels if variants.y else ("",), cells, strict=True)
    ]
    settings = {
        "recipe": variants.first.name,
        "x": json.dumps({variants.x.key: variants.x.values}, ensure_ascii=False),
        **({"y": json.dumps({variants.y.key: variants.y.values}, ensure_ascii=False)} if variants.y else {}),
        "cells": json.dumps([[dict(cell.settings) for cell in line] for line in cells], ensure_ascii=False),
        "prompt": row.prompt,
        "seed": str(row.seed),
        **common,
    }
    save(sheet(variants.x.labels, rows, title=row.label), path, settings)
