"""The cells of a grid: a column of pictures for each variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.previews.columns import Column, merged_column
from loramerge.recipe.weights import plain
from loramerge.stages.combine import WeightedAdapter

if TYPE_CHECKING:
    from loramerge.recipe import Recipe
    from loramerge.recipe.variants import Variants
    from loramerge.stages.load import Loaded


def labels_of(variants: Variants) -> tuple[tuple[str, ...], ...]:
    """What the cells are called, by row and column."""
    if variants.y is None:
        return (variants.x.labels,)
    return tuple(tuple(f"{across}, {down}" for across in variants.x.labels) for down in variants.y.labels)


def cells_of(variants: Variants, loaded: Loaded) -> list[list[Column]]:
    """The cells, by row and column."""
    return [
        [
            merged_column(each, loaded, name=f"x{across}-y{down}" if variants.y else f"x{across}", label=label)
            for across, (each, label) in enumerate(zip(row, labels, strict=True), start=1)
        ]
        for down, (row, labels) in enumerate(zip(variants.recipes, labels_of(variants), strict=True), start=1)
    ]


def loras_of(recipe: Recipe, loaded: Loaded) -> list[WeightedAdapter]:
    """The LoRAs, which all variants share, at the weights of one variant."""
    return [
        WeightedAdapter(lora.name, lora.adapter, plain(given.weight))
        for given, lora in zip(recipe.loras, loaded.loras, strict=True)
    ]
