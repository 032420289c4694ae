"""Stage: pictures of a recipe's variants, side by side, without their artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.previews.columns import Column, merged_column
from loramerge.previews.contact_sheet import Row, sheet
from loramerge.previews.out_of_memory import naming_shortage
from loramerge.previews.png import save
from loramerge.previews.render import Drawing, Drawn, rendering
from loramerge.recipe.weights import plain
from loramerge.stages.combine import WeightedAdapter, check_combination, combine
from loramerge.stages.preview import Previewed
from loramerge.stages.preview_inputs import keeping, prepared

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.previews.prompts import Shot
    from loramerge.progress import Progress
    from loramerge.recipe import Recipe
    from loramerge.recipe.variants import Variants
    from loramerge.stages.load import Loaded


def grid(
    variants: Variants,
    *,
    lock: Lock | None = None,
    out: Path | str | None = None,
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
        device: `auto`, `cpu` or `cuda`.
        progress: Told of every step.

    Raises:
        LoramergeError: With the exit code of what went wrong; pictures that were finished stay.
    """
    recipe = variants.first
    ready = prepared(recipe, lock, out or Path("dist") / f"{recipe.name}-grid", device, progress)
    loaded, place = ready.loaded, ready.place
    _check_variants(variants, loaded)
    cells = [
        [
            merged_column(
                each,
                loaded,
                name=f"x{across}-y{down}" if variants.y else f"x{across}",
                label=label,
            )
            for across, (each, label) in enumerate(zip(row, labels, strict=True), start=1)
        ]
        for down, (row, labels) in enumerate(zip(variants.recipes, _labels(variants), strict=True), start=1)
    ]
    drawing = Drawing([cell for row in cells for cell in row], ready.preview, ready.size, place, ready.device)
    sheets = tuple(place / f"grid-{row.number}.png" for row in drawing.rows)
    with keeping(drawing, sheets, progress):
        drawn, notes = _drawn(variants, loaded, drawing, device, progress)
        for path, row in zip(sheets, drawing.rows, strict=True):
            with naming_shortage(ready.preview, ready.size, ready.device):
                _write(path, variants, drawing, cells, row)
    return Previewed(place, sheets, drawing.paths, drawn.count, (*loaded.notes, *notes, *drawn.notes))


def _labels(variants: Variants) -> tuple[tuple[str, ...], ...]:
    if variants.y is None:
        return (variants.x.labels,)
    return tuple(tuple(f"{across}, {down}" for across in variants.x.labels) for down in variants.y.labels)


def _loras(recipe: Recipe, loaded: Loaded) -> list[WeightedAdapter]:
    """The LoRAs, which all variants share, at the weights of one variant."""
    return [
        WeightedAdapter(lora.name, lora.adapter, plain(given.weight))
        for given, lora in zip(recipe.loras, loaded.loras, strict=True)
    ]


def _check_variants(variants: Variants, loaded: Loaded) -> None:
    """Name every variant that can't be merged before anything is drawn."""
    mistakes = list(_mistakes(variants, loaded))
    if mistakes:
        raise MismatchError("\n".join(mistakes), hint="leave these values out")


def _mistakes(variants: Variants, loaded: Loaded) -> Iterator[str]:
    for row, labels in zip(variants.recipes, _labels(variants), strict=True):
        for recipe, label in zip(row, labels, strict=True):
            try:
                check_combination(_loras(recipe, loaded), loaded.base, recipe.merge)
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
            combined = combine(_loras(recipe, loaded), loaded.base, recipe.merge, device=device)
            notes |= dict.fromkeys(combined.notes)
            made.draw(cell, combined.adapter)
        return made.drawn, notes


def _write(path: Path, variants: Variants, drawing: Drawing, cells: Sequence[Sequence[Column]], row: Shot) -> None:
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
        **drawing.common,
    }
    save(sheet(variants.x.labels, rows, title=row.label), path, settings)
