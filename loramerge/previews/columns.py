"""What the pictures of a column are drawn by: the base, a LoRA alone, all of them stacked, the merge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.adapter import Adapter
from loramerge.merging.block_weights import weighing
from loramerge.recipe.weights import plain, single

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.recipe import Recipe
    from loramerge.stages.load import Loaded, LoadedLora


@dataclass(frozen=True, eq=False)
class ActiveLora:
    """A LoRA that a pipeline draws with; columns that draw with the same one share the object.

    Attributes:
        name: For messages.
        adapter: It fits the base.
        weight: As `set_adapters` takes it.
    """

    name: str
    adapter: Adapter
    weight: float

    @classmethod
    def at(cls, name: str, adapter: Adapter, weight: float | Mapping[str, Any], base: Base) -> ActiveLora:
        """Weights by block go into the LoRA itself, module by module as in the merge.

        `set_adapters` takes them too and means the same, but fails on modules outside of all blocks, such as conv_in
        (diffusers 0.42, utils/peft_utils.py: `parts[3]`).
        """
        number = single(weight)
        if number is not None:
            return cls(name, adapter, number)
        weigh = weighing(name, weight, base)
        weighed = {
            component: {module: pair.times(weigh(component, module)) for module, pair in modules.items()}
            for component, modules in adapter.components.items()
        }
        return cls(name, Adapter(weighed), 1.0)


@dataclass(frozen=True)
class PipelineFolder:
    """A diffusers pipeline in a folder.

    Attributes:
        folder: Where it is.
        variant: Of its weight files.
    """

    folder: Path
    variant: str | None = None


@dataclass(frozen=True)
class Column:
    """One column of pictures.

    Attributes:
        name: As in the names of files.
        label: What the sheet calls it.
        source: The pipeline.
        settings: What its pictures say of it, and of what it was made of.
        inputs: The LoRAs of the recipe that it draws with, which other columns may have too.
        merge_at: What the merged LoRA is multiplied by, which it draws with; None where it does without.
    """

    name: str
    label: str
    source: PipelineFolder
    settings: Mapping[str, str]
    inputs: Sequence[ActiveLora] = ()
    merge_at: float | None = None

    def loras(self, merged: Adapter | None) -> Sequence[ActiveLora]:
        """The LoRAs that it draws with.

        Args:
            merged: The merged LoRA, where the column draws with it.
        """
        if self.merge_at is None:
            return self.inputs
        assert merged is not None  # noqa: S101  a picture of the base would be called one of the merge
        return (ActiveLora(self.name, merged, self.merge_at),)


def columns_of(recipe: Recipe, loaded: Loaded, *, fused: Path | None = None) -> tuple[Column, ...]:
    """The base, each LoRA alone at its weight, stacked where there are several, and the merge.

    Args:
        recipe: Says how they are merged.
        loaded: The base with its weights, and the LoRAs.
        fused: The pipeline output as it was written, which then draws the merge.
    """
    base = PipelineFolder(loaded.base_files.folder, loaded.base_files.variant)
    weights = {lora.name: lora.weight for lora in loaded.loras}
    active = [ActiveLora.at(lora.name, lora.adapter, lora.weight, loaded.base) for lora in loaded.loras]
    found = [Column("base", "base", base, {"model": "base", "inputs": _digest(loaded, ())})]
    for lora, alone in zip(loaded.loras, active, strict=True):
        settings = {
            "model": label_of(lora.name, lora.weight),
            "loras": _json({lora.name: lora.weight}),
            "inputs": _digest(loaded, [lora]),
        }
        found.append(Column(f"lora-{lora.name}", settings["model"], base, settings, (alone,)))
    if len(loaded.loras) > 1:
        settings = {"model": "stacked", "loras": _json(weights), "inputs": _digest(loaded, loaded.loras)}
        found.append(Column("stacked", "stacked", base, settings, active))
    found.append(merged_column(recipe, loaded, fused=fused))
    return tuple(found)


def merged_column(
    recipe: Recipe,
    loaded: Loaded,
    *,
    name: str = "merged",
    label: str = "",
    fused: Path | None = None,
) -> Column:
    """The merge: as the pipeline that was written, or as a LoRA at the scale at which one would be fused.

    Args:
        recipe: Says how the LoRAs are merged.
        loaded: The base with its weights, and the LoRAs.
        name: As in the names of files.
        label: What the sheet calls it; the combination type by default.
        fused: The pipeline output as it was written.
    """
    label = label or f"merged ({recipe.merge.combination_type})"
    output = recipe.fused
    scale = 1.0 if output is None or output.fused_at is None else output.fused_at
    settings = {
        "model": label,
        "loras": _json({lora.name: plain(lora.weight) for lora in recipe.loras}),
        "merge": _json(recipe.merge.model_dump(mode="json")),
        "lora_scale": f"{scale:g}",
        "inputs": _digest(loaded, loaded.loras),
    }
    if fused is not None:
        dtype = (output and output.number_format) or "as in the base"
        return Column(name, label, PipelineFolder(fused), {**settings, "pipeline": f"fused, {dtype}"})
    base = PipelineFolder(loaded.base_files.folder, loaded.base_files.variant)
    return Column(name, label, base, settings, merge_at=scale)


def label_of(name: str, weight: float | Mapping[str, Any]) -> str:
    """`ink × 0.7`."""
    number = single(weight)
    return f"{name}, weights by block" if number is None else f"{name} × {number:g}"


def _digest(loaded: Loaded, loras: Sequence[LoadedLora]) -> str:
    """SHA-256 over the digests of the files that have a part in a column."""
    files = {"": loaded.base_inputs.files()} | {lora.name: lora.inputs.files() for lora in loras}
    listed = [(whose, file.name, file.sha256) for whose, each in files.items() for file in each]
    return hashlib.sha256(_json(listed).encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
