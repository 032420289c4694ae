"""kohya's format: one file, flat names, `.alpha` per module; what A1111, Forge and ComfyUI read.

Names after sd-scripts (networks/lora.py): `lora_unet_`, `lora_te_` (SD 1.5 and 2), `lora_te1_`/`lora_te2_` (SDXL).
LyCORIS and ComfyUI write the same with other names in front, or dotted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loramerge.adapter import balanced
from loramerge.errors import SourceError
from loramerge.families.sgm import sgm_name
from loramerge.formats.adapter_output import AdapterOutput, Components
from loramerge.formats.assemble import alpha_over_rank, assemble
from loramerge.formats.loading import Snippet
from loramerge.formats.module_names import places
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned, factors

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.bases.base import Base
    from loramerge.formats.labels import Labels
    from loramerge.formats.loading import Address, Facts
    from loramerge.formats.lora_file import LoraFile

_BASE_VERSION = {"sd15": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
_ARCHITECTURE = {
    "sd15": "stable-diffusion-v1/lora",
    "sd2": "stable-diffusion-v2-512/lora",
    "sdxl": "stable-diffusion-xl-v1-base/lora",
}
_RESOLUTION = {"sd15": "512x512", "sd2": "512x512", "sdxl": "1024x1024"}


class KohyaOutput(AdapterOutput):
    """The names that A1111 and ComfyUI read, in one file called after the recipe."""

    default_folder: ClassVar[str] = "kohya"

    format: Literal["kohya"]

    @staticmethod
    def read(file: LoraFile, base: Base) -> Components:
        """The scale is alpha / rank, and 1 where a module has no alpha."""
        return assemble(file.reference, file.tensors, places(file, base), alpha_over_rank)

    def write_adapter(self, adapter: Adapter, base: Base, labels: Labels, folder: Path) -> dict[str, str]:
        """Write `<recipe>.safetensors`. A module that sgm has no name for keeps diffusers' own.

        All modules get one alpha: diffusers ignores that of an attention layer that has another than most. What is left
        of a scale is folded into the factors.
        """
        import torch

        planned: list[Planned] = []
        alpha = Counter(pair.scale * pair.rank for _, _, pair in adapter).most_common(1)[0][0]
        for component, module, pair in adapter:
            key = _prefix(component, base.family) + _file_name(component, module, base).replace(".", "_")
            keys = f"{key}.lora_down.weight", f"{key}.lora_up.weight"
            planned += factors(pair, keys, self.dtype, module, balanced(pair.scale * pair.rank / alpha))
            planned.append(Planned.of(f"{key}.alpha", torch.tensor(alpha, dtype=torch.float32)))
        metadata = {
            "format": "pt",
            "modelspec.architecture": _ARCHITECTURE[base.family],
            "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
            "modelspec.resolution": _RESOLUTION[base.family],
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.title": labels.name,
            "modelspec.merged_from": ", ".join(labels.inputs),
            "ss_base_model_version": _BASE_VERSION[base.family],
            "ss_network_alpha": str(alpha),
            "ss_network_dim": _single({pair.rank for _, _, pair in adapter}),
            "ss_network_module": "networks.lora",
            "ss_output_name": labels.name,
            **labels.origin(),
        }
        if base.family == "sd2":
            metadata["ss_v2"] = "True"
        if labels.description:
            metadata["modelspec.description"] = labels.description
        if labels.trigger_phrases:
            metadata["modelspec.trigger_phrase"] = ", ".join(labels.trigger_phrases)
        if labels.tag_frequency:
            metadata["ss_tag_frequency"] = json.dumps(labels.tag_frequency, sort_keys=True, ensure_ascii=False)
        name = f"{labels.name}.safetensors"
        return {name: tensors.write(folder / name, planned, metadata)}

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """ComfyUI and A1111 read what lies in their own folder."""
        title, folder = f"ComfyUI, A1111: `{self.folder}`", "ComfyUI/models/loras"
        path = place.path(f"{facts.recipe}.safetensors")
        if place.repo is None:
            yield Snippet(title, "bash", f"cp {path} {folder}/")
            return
        revision = f" --revision {place.revision}" if place.revision else ""
        yield Snippet(title, "bash", f"hf download {place.repo} {path}{revision} --local-dir {folder}")


def trigger_phrases(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What the model specification of a file says to put into the prompt."""
    phrase = metadata.get("modelspec.trigger_phrase", "").strip()
    return (phrase,) if phrase else ()


def tag_frequency(reference: str, metadata: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Kohya's training tags: data set → tag → count.

    Raises:
        SourceError: They are there, but not in that form.
    """
    try:
        found = json.loads(metadata.get("ss_tag_frequency") or "{}")
        return {str(name): {str(tag): int(count) for tag, count in tags.items()} for name, tags in found.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SourceError(f"{reference}: its metadata ss_tag_frequency can't be read: {error}") from None


def _prefix(component: str, family: str) -> str:
    if component == "unet":
        return "lora_unet_"
    if component == "text_encoder_2":
        return "lora_te2_"
    return "lora_te1_" if family == "sdxl" else "lora_te_"


def _file_name(component: str, module: str, base: Base) -> str:
    if component == "unet" and base.family == "sdxl":
        return sgm_name(module, base.components["unet"].config) or module
    return module


def _single(values: set[Any]) -> str:
    return str(values.pop()) if len(values) == 1 else "Dynamic"
