"""kohya's format: one file, flat names, `.alpha` per module; what A1111, Forge and ComfyUI read.

Names after sd-scripts (networks/lora.py): `lora_unet_`, `lora_te_` (SD 1.5 and 2), `lora_te1_`/`lora_te2_` (SDXL).
LyCORIS and ComfyUI write the same with other names in front, or dotted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loramerge.adapter import balanced
from loramerge.families.sgm import sgm_name
from loramerge.formats import kohya_labels
from loramerge.formats.adapter_output import AdapterOutput, Components
from loramerge.formats.assemble import alpha_over_rank, assemble
from loramerge.formats.kohya_labels import UNKNOWN_HASHES, hashes
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

_FOLDERS = {"ComfyUI": "ComfyUI/models/loras", "A1111, Forge": "stable-diffusion-webui/models/Lora"}


class KohyaOutput(AdapterOutput):
    """The names that A1111 and ComfyUI read, in one file called after the recipe."""

    default_folder: ClassVar[str] = "kohya"
    readers: ClassVar[str] = "ComfyUI and A1111"

    format: Literal["kohya"]

    @staticmethod
    def read(file: LoraFile, base: Base) -> Components:
        """The scale is alpha / rank, and 1 where a module has no alpha."""
        return assemble(file.reference, file.tensors, places(file, base), alpha_over_rank)

    def top_names(self, recipe: str, loras: Sequence[str]) -> tuple[str, ...]:
        """The file is called after the recipe."""
        del loras
        return (f"{recipe}.safetensors",)

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
        found = kohya_labels.metadata(labels, base, alpha=alpha, rank=_single({pair.rank for _, _, pair in adapter}))
        name = f"{labels.name}.safetensors"
        return {name: tensors.write(folder / name, planned, found | UNKNOWN_HASHES, seal=hashes)}

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """ComfyUI and A1111 read what lies in their own folders."""
        path = place.path(f"{facts.recipe}.safetensors")
        revision = f" --revision {place.revision}" if place.revision else ""
        for program, folder in _FOLDERS.items():
            title = f"{program}: `{self.folder}`"
            if place.repo is None:
                yield Snippet(title, "bash", f"cp {path} {folder}/")
            else:
                yield Snippet(title, "bash", f"hf download {place.repo} {path}{revision} --local-dir {folder}")


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
