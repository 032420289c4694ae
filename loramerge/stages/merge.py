"""A recipe's merge as one LoRA file or folder, with no artifact around it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.analysis.rounding import formats_of
from loramerge.errors import UsageError
from loramerge.files.atomic import replacing, replacing_by_one
from loramerge.files.run_lock import in_turn
from loramerge.provenance.licence import UNKNOWN
from loramerge.reports.report import summary
from loramerge.stages.assess import assess
from loramerge.stages.check_outputs import check_count, check_form, check_outputs
from loramerge.stages.combine import combine, weighted
from loramerge.stages.load import known, load
from loramerge.stages.lock import cards_of
from loramerge.stages.lora_place import check_lora_place
from loramerge.stages.resolve import local_sources, resolve
from loramerge.stages.with_base import with_base
from loramerge.stages.write import write_output
from loramerge.tensor_files.lazy import MUCH, Spool

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.progress import Progress
    from loramerge.recipe import Recipe


@dataclass(frozen=True)
class MergedLora:
    """A merged LoRA that was written.

    Attributes:
        place: Its file or folder.
        merged: The LoRA.
        fidelity: Relative error by component: ‖merged - Σ wᵢΔᵢ‖ / ‖Σ wᵢΔᵢ‖.
        warnings: What the user should know, in words.
        report: What report.json says of a merge.
    """

    place: Path
    merged: Adapter = field(repr=False)
    fidelity: Mapping[str, float | None]
    warnings: tuple[str, ...]
    report: Mapping[str, Any] = field(repr=False)


def merge(
    recipe: Recipe,
    out: Path | str,
    *,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> MergedLora:
    """Merge what a recipe says, and write its one output to a place, complete or not at all.

    Args:
        recipe: Its only output is an adapter; nothing is published.
        out: A file that ends in `.safetensors` for the formats that are one file, else a folder.
        device: `auto`, `cpu` or `cuda`.
        force: Replace a file, or a folder that holds a LoRA alone.
        progress: Told of every step.

    Raises:
        LoramergeError: With the exit code of what went wrong. Nothing is written then.
    """
    place = Path(os.path.abspath(out))  # noqa: PTH100  # without `..`, and links as they are
    beyond = [*recipe.publish, *filter(None, [recipe.preview]), *recipe.outputs[1:]]
    if beyond or not recipe.outputs[0].holds_merged_lora:
        raise UsageError(
            "one place takes one LoRA, and the recipe asks for more: other outputs, pictures or targets",
            hint="run the recipe instead",
        )
    check_form(recipe.outputs[0], place)
    check = partial(check_lora_place, place, force=force, inputs=local_sources(recipe))
    check()
    filling = replacing_by_one if recipe.outputs[0].is_one_file else replacing
    with in_turn(place, progress), filling(place, lambda old: check(old=old)) as folder:
        check()  # another merge may have been there meanwhile
        recipe = with_base(recipe, progress=progress)
        resolved = resolve(recipe, progress=progress)
        spool = Spool(place.parent, MUCH)
        loaded = load(resolved, keep=spool.keep, progress=progress)
        check_outputs(recipe, loaded)
        check_count(recipe, loaded)
        combined = combine(
            weighted(loaded),
            loaded.base,
            recipe.merge,
            device=device,
            keep=spool.keep,
            formats=formats_of(recipe),
            progress=progress,
        )
        report = assess(recipe, loaded, combined, licence=UNKNOWN, full=False, progress=progress)
        notes = write_output(recipe.outputs[0], folder, recipe, loaded, combined, cards=cards_of(resolved))
        known(resolved, loaded)  # raises where a file was changed meanwhile
    return MergedLora(place, combined.adapter, summary(combined.fidelity), (*report["notes"], *notes), report)
