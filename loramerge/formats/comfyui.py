"""ComfyUI's format: one file with the names of the original checkpoint, dotted, behind `diffusion_model.`.

Names after ComfyUI (comfy/lora.py): `diffusion_model.<name>` for the denoiser of any model, and
`text_encoders.<encoder>.transformer.<name>` for text encoders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from loramerge.adapter import balanced
from loramerge.formats import alphas, embeddings, single_file
from loramerge.formats.assemble import alpha_over_rank, assemble
from loramerge.formats.denoiser_files import by_denoiser
from loramerge.formats.kohya_labels import UNKNOWN_HASHES, hashes
from loramerge.formats.model_spec import model_spec
from loramerge.formats.module_names import places
from loramerge.formats.named_file import NamedFileOutput
from loramerge.formats.original_names import in_original_names
from loramerge.formats.parameter_keys import comfyui_key
from loramerge.formats.single_file import COMFYUI
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned, dense, factors

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base
    from loramerge.formats.adapter_output import Components
    from loramerge.formats.labels import Labels
    from loramerge.formats.loading import Address, Facts, Snippet
    from loramerge.formats.lora_file import LoraFile


class ComfyuiOutput(NamedFileOutput):
    """The names that ComfyUI reads for any model, in one file called after the recipe."""

    default_folder: ClassVar[str] = "comfyui"
    readers: ClassVar[str] = "ComfyUI"
    holds_dense: ClassVar[bool] = True
    holds_embeddings: ClassVar[bool] = True

    format: Literal["comfyui"]

    @staticmethod
    def read(file: LoraFile, base: Base) -> Components:
        """The scale is alpha / rank, and 1 where a module has no alpha."""
        return assemble(file.reference, file.tensors, places(file, base), alpha_over_rank)

    def check(self, base: Base, components: Collection[str]) -> None:
        """ComfyUI knows the original names alone, and text encoders by its own."""
        super().check(base, components)
        single_file.check_names("comfyui", base)
        encoders = base.family.text_encoders
        beside = {place.partition(".")[0] for place in base.family.components.values()}
        known = {*base.denoisers, *(name for name, each in encoders.items() if each.comfyui), *beside}
        single_file.check_components("comfyui", base, components, known)

    def pairs(self, adapter: Adapter, base: Base) -> Iterator[tuple[str, LowRank]]:
        """In the names of the original checkpoint."""
        yield from _named_pairs(adapter, base, [*adapter.components])

    def cautions(self, pairs: Sequence[LowRank]) -> Iterator[str]:
        """Of rounded alphas."""
        yield from alphas.rounded(pairs)

    def write_adapter(
        self, adapter: Adapter, base: Base, labels: Labels, folder: Path, *, exact: bool = False
    ) -> Mapping[str, str | None]:
        """Write `<recipe>.safetensors`.

        The scale is folded into the factors. Where it has to be exact, a module has an alpha unless its scale is 1.
        """
        import torch

        digests: dict[str, str | None] = {}
        for ending, components in by_denoiser(adapter.components, base.family, base.denoisers).items():
            (name,) = single_file.top_names(labels.name, [ending])
            planned: list[Planned] = [] if digests else [*embeddings.planned(adapter.embeddings)]
            for key, pair in _named_pairs(adapter, base, components):
                if pair.is_dense:
                    written = f"{key}.diff" if pair.is_layer else comfyui_key(key)
                    planned.append(dense(pair, written, self.dtype, key))
                    continue
                keys = f"{key}.lora_A.weight", f"{key}.lora_B.weight"
                planned += factors(pair, keys, self.dtype, key, (1.0, 1.0) if exact else balanced(pair.scale))
                if exact and pair.scale != 1:
                    alpha = torch.tensor(pair.scale * pair.rank, dtype=torch.float32)
                    planned.append(Planned.of(f"{key}.alpha", alpha))
            found = {"format": "pt", **model_spec(labels, base), **labels.origin(), **UNKNOWN_HASHES, **labels.kept}
            digests[name] = tensors.write(folder / name, planned, found, seal=hashes)
        return digests

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """ComfyUI reads what lies in its own folder."""
        yield from single_file.copied(self.folder, place, self.files(facts), {"ComfyUI": COMFYUI})


def _named_pairs(adapter: Adapter, base: Base, components: Sequence[str]) -> Iterator[tuple[str, LowRank]]:
    """Key without its ending, and pair."""
    for component in components:
        modules = adapter.components[component]
        layout = base.components[component].comfyui_layout_for(modules)
        for module, pair in in_original_names(layout, modules):
            yield _key(component, module, base), pair


def _key(component: str, module: str, base: Base) -> str:
    """Raises MismatchError where the original checkpoint has no such part beside its denoiser."""
    if component in base.denoisers:
        return f"diffusion_model.{module}"
    if component in base.family.text_encoders:
        return f"text_encoders.{base.family.text_encoders[component].comfyui}.transformer.{module}"
    place = f"{component}.{module}"
    for original, beside in base.family.components.items():
        if place == beside or place.startswith(f"{beside}."):
            return f"diffusion_model.{original}{place[len(beside) :]}"
    raise single_file.unnamed("comfyui", base, [place])
