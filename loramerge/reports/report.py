"""What a merge did, in numbers: report.json, and the sentences that go with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from loramerge.analysis.fidelity import POOR, ModuleFidelity, total
from loramerge.analysis.overlap_json import as_data
from loramerge.artifact.environment import environment
from loramerge.bases.base import MODEL_CONFIG
from loramerge.formats.trigger_words import trigger_phrases
from loramerge.provenance.licence import UNKNOWN
from loramerge.sources import shown

if TYPE_CHECKING:
    from loramerge.analysis.fidelity import Fidelity
    from loramerge.analysis.overlap import PairOverlap
    from loramerge.bases.base import Base
    from loramerge.methods import Method
    from loramerge.recipe import Recipe
    from loramerge.stages.combine import Combined
    from loramerge.stages.load import Loaded, LoadedLora


def report(
    recipe: Recipe,
    loaded: Loaded,
    combined: Combined,
    warnings: Sequence[str],
    *,
    overlaps: Sequence[PairOverlap],
    licence: str = UNKNOWN,
) -> dict[str, Any]:
    """The report as plain data, the same for the same merge on the same machine."""
    return {
        "version": 1,
        "recipe": {"name": recipe.name, "sha256": hashlib.sha256(recipe.text.encode()).hexdigest()},
        "license": licence,
        "merge": recipe.merge.model_dump(mode="json"),
        **_parts(combined),
        "reference": combined.reference,
        "base": {
            "source": str(recipe.base),
            "revision": loaded.revision,
            "family": loaded.base.family.name,
            "blocks": list(loaded.base.anatomy(combined.adapter.components).blocks),
            "pipeline": loaded.base.pipeline,
            "denoisers": list(loaded.base.denoisers),
            **_single_file(loaded.base),
            **_lone_model(loaded),
        },
        "loras": [_lora_data(lora) for lora in loaded.loras],
        "fidelity": {
            component: {
                "error": total(modules),
                "modules": {
                    module: _measured(entry) | _retained(combined, component, module)
                    for module, entry in modules.items()
                },
            }
            for component, modules in combined.fidelity.items()
        },
        "overlap": as_data(overlaps),
        "notes": list(warnings),
        "environment": environment(combined.device),
    }


def _parts(combined: Combined) -> dict[str, Any]:
    """Where parts of the model have rules of their own: what each merged; the first is for all that no other is for."""
    if not any(division.match for division in combined.divisions):
        return {}
    parts = [
        {
            "match": list(division.match),
            "combination_type": division.method.combination_type,
            "modules": division.modules,
            **({"loras": list(division.method.taken)} if division.method.taken else {}),
        }
        for division in combined.divisions
    ]
    return {"parts": parts}


def _single_file(base: Base) -> dict[str, Any]:
    """Of a base that is one file: what it holds, and which of the published sizes that is."""
    return {} if base.checkpoint is None else {"file": {"parts": [*base.checkpoint.parts], "size": base.size}}


def _lone_model(loaded: Loaded) -> dict[str, Any]:
    """Of a base that is the folder of one part of a pipeline of diffusers: its class."""
    if MODEL_CONFIG not in loaded.base_files.names or loaded.base.is_model:
        return {}
    return {"class": str(loaded.base.components[loaded.base.main].config["_class_name"])}


def summary(fidelity: Fidelity) -> dict[str, float | None]:
    """Relative error of every component."""
    return {component: total(modules) for component, modules in fidelity.items()}


def poor_fidelity(method: Method, fidelity: Fidelity) -> list[str]:
    """A sentence with the alternative, where the merge is far from the weighted sum of the LoRAs."""
    errors = {component: error for component, error in summary(fidelity).items() if error is not None and error > POOR}
    if not errors:
        return []
    shown = ", ".join(f"{component} {error:.2f}" for component, error in errors.items())
    entries = [entry for modules in fidelity.values() for entry in modules.values()]
    rank = max(sum(entry.ranks.values()) for entry in entries)
    if len({name for entry in entries for name in entry.ranks}) == 1:
        what, otherwise = "the result is far from the LoRA", f"Rank {rank} is exact"
    else:
        what = "the merge is far from the weighted sum of the LoRAs"
        otherwise = f"`cat` is exact, with rank {rank}; so is `svd` of that rank"
    scale = f"relative error {shown}; 0 is exact, 1 is as far as nothing at all"
    why = "; ".join(dict.fromkeys(rule.why_far for rule in method.rules if not rule.concatenates)) or method.why_far
    return [f"{what} ({scale}): {why}. {otherwise}"]


def _lora_data(lora: LoadedLora) -> dict[str, Any]:
    ranks = Counter(pair.rank for *_, pair in lora.adapter if pair.is_layer)
    return {
        "name": lora.name,
        "source": shown(lora.reference),
        "revision": lora.revision,
        "format": lora.format,
        "weight": lora.weight,
        "files": [asdict(file) for file in lora.inputs.files()],
        "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
        "modules": {component: len(modules) for component, modules in lora.adapter.components.items()},
        "trigger_phrases": list(trigger_phrases(lora.adapter.metadata)),
        **({} if lora.extraction is None else {"extraction": lora.extraction.as_data()}),
    }


def _measured(entry: ModuleFidelity) -> dict[str, Any]:
    return {
        "ranks": dict(entry.ranks),
        "norms": dict(entry.norms),
        "rank": entry.rank,
        "norm": entry.norm,
        "target_norm": entry.target,
        "error": entry.error,
    }


def _retained(combined: Combined, component: str, module: str) -> dict[str, float]:
    """The share of the combined delta's energy that its rank keeps, where it was cut to one."""
    kept = combined.retained_energy.get(component, {}).get(module)
    return {} if kept is None else {"retained_energy": kept}
