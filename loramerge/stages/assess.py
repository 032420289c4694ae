"""Stage: what a merge did to its LoRAs, in numbers, and what the user should know, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loramerge.analysis.conflicts import conflicts
from loramerge.analysis.overlap import directions, overlaps
from loramerge.analysis.rounding import by_output, coarse
from loramerge.analysis.storage import storage
from loramerge.analysis.strength import strength
from loramerge.analysis.twins import pairs_of, twins
from loramerge.recipe.weights import single
from loramerge.reports.report import poor_fidelity, report
from loramerge.stages.division import joined
from loramerge.stages.load import weighed

if TYPE_CHECKING:
    from loramerge.progress import Progress
    from loramerge.recipe import Recipe
    from loramerge.stages.combine import Combined
    from loramerge.stages.load import Loaded, LoadedLora


def assess(
    recipe: Recipe, loaded: Loaded, combined: Combined, *, licence: str, full: bool, progress: Progress | None = None
) -> Mapping[str, Any]:
    """Compare the merge with its LoRAs, and these with each other; briefly by what the merge's own measures tell.

    Args:
        recipe: Names method and outputs.
        loaded: The inputs.
        combined: The merge.
        licence: Of the result, as the Hub names it.
        full: Also which spaces the LoRAs share and where their signs differ, which is read off all of their tensors.
        progress: Told of every pair of LoRAs.

    Returns:
        What report.json says, but for the pictures.
    """
    rounding = by_output(recipe, combined.rounding)
    weights = weighed(loaded)
    counted = {name for parts in joined(combined.divisions).values() for name in parts}
    same = twins({lora.name: (lora.adapter, _digests(lora)) for lora in loaded.loras if lora.name in counted})
    single_weights = {lora.name: single(lora.weight) for lora in loaded.loras}
    anatomy = loaded.base.anatomy(combined.adapter.components)
    met = overlaps(weights, same=pairs_of(same), anatomy=anatomy, progress=progress) if full else ()
    seen = met if full else directions(combined.fidelity, list(weights), same=pairs_of(same), anatomy=anatomy)
    warnings = (
        *loaded.notes,
        *combined.notes,
        *poor_fidelity(recipe.merge, combined.fidelity),
        *coarse(recipe, rounding),
        *strength(combined.fidelity, {name: weigh for name, (_, weigh) in weights.items()}),
        *(each.merged(single_weights) for each in same),
        *conflicts(seen),
    )
    return report(recipe, loaded, combined, warnings, overlaps=met, licence=licence) | {
        "rounding": rounding,
        "storage": storage(recipe, combined.adapter, [lora.adapter for lora in loaded.loras]),
    }


def _digests(lora: LoadedLora) -> list[str]:
    return [file.sha256 for file in lora.inputs.files()]
