"""kohya's format: one file, flat names, `.alpha` per module; what A1111, Forge and ComfyUI read.

Names after sd-scripts (networks/lora.py, networks/lora_flux.py): `lora_unet_` before the denoiser's, whatever that is,
`lora_te_`, `lora_te1_`, … before the text encoders'. LyCORIS writes the same with other names in front.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loramerge.adapter import balanced
from loramerge.bases.component import flat
from loramerge.formats import alphas, embeddings, kohya_labels, single_file
from loramerge.formats.assemble import alpha_over_rank, assemble
from loramerge.formats.denoiser_files import by_denoiser
from loramerge.formats.kohya_labels import hashes
from loramerge.formats.module_names import places
from loramerge.formats.named_file import NamedFileOutput
from loramerge.formats.original_names import in_original_names
from loramerge.formats.parameter_keys import check_kohya, kohya_key, whole_norms
from loramerge.formats.single_file import COMFYUI
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned, dense, factors

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base
    from loramerge.families import Family
    from loramerge.formats.adapter_output import Components
    from loramerge.formats.labels import Labels
    from loramerge.formats.loading import Address, Facts, Snippet
    from loramerge.formats.lora_file import LoraFile

_WEBUI = "stable-diffusion-webui/models/Lora"


class KohyaOutput(NamedFileOutput):
    """The names that A1111 and ComfyUI read, in one file called after the recipe."""

    default_folder: ClassVar[str] = "kohya"
    readers: ClassVar[str] = "ComfyUI and A1111"
    holds_dense: ClassVar[bool] = True
    holds_embeddings: ClassVar[bool] = True

    format: Literal["kohya"]

    @staticmethod
    def read(file: LoraFile, base: Base) -> Components:
        """The scale is alpha / rank, and 1 where a module has no alpha."""
        return assemble(file.reference, file.tensors, places(file, base), alpha_over_rank)

    def check(self, base: Base, components: Collection[str]) -> None:
        """A1111 and ComfyUI know flat names of the original ones, and up to three text encoders."""
        super().check(base, components)
        single_file.check_names("kohya", base)
        known = {*base.denoisers, *(name for name, each in base.family.text_encoders.items() if each.kohya)}
        single_file.check_components("kohya", base, components, known)

    def pairs(self, adapter: Adapter, base: Base) -> Iterator[tuple[str, LowRank]]:
        """In the names of the original checkpoint, but where kohya's programs have diffusers'."""
        yield from _pairs(adapter, base, [*adapter.components])

    def check_parameters(self, name: str, adapter: Adapter, base: Base) -> None:
        """Its programs look for the weights and biases of modules alone."""
        for component, modules in adapter.components.items():
            part = base.components[component]
            flat_is_own = component not in base.denoisers or base.family.flat_is_canonical
            if not part.modules.keys() >= modules.keys():
                check_kohya(name, None if flat_is_own else part.whole_layout.whole, part, modules)

    def cautions(self, pairs: Sequence[LowRank]) -> Iterator[str]:
        """Of rounded alphas, and of what diffusers makes of several."""
        yield from alphas.rounded(pairs)
        if len({pair.scale * pair.rank for pair in pairs if not pair.is_dense}) > 1:
            yield (
                "modules have different alphas, and diffusers takes the commonest for all attention layers of such a "
                "file; it reads `--format diffusers` right"
            )

    def write_adapter(
        self, adapter: Adapter, base: Base, labels: Labels, folder: Path, *, exact: bool = False
    ) -> Mapping[str, str | None]:
        """Write `<recipe>.safetensors`, or a file for each of several denoisers.

        All modules get one alpha: diffusers ignores that of an attention layer that has another than most. What is left
        of a scale is folded into the factors. Where it has to be exact, each module has its own.
        """
        digests: dict[str, str | None] = {}
        for ending, components in by_denoiser(adapter.components, base.family, base.denoisers).items():
            (name,) = single_file.top_names(labels.name, [ending])
            pairs = list(_pairs(adapter, base, components))
            inside = () if digests else embeddings.planned(adapter.embeddings)
            digests[name] = self._write_file(folder / name, pairs, base, labels, inside, exact=exact)
        return digests

    def _write_file(
        self,
        path: Path,
        pairs: Sequence[tuple[str, LowRank]],
        base: Base,
        labels: Labels,
        inside: Iterable[Planned],
        *,
        exact: bool,
    ) -> str | None:
        import torch

        planned: list[Planned] = [*inside]
        factored = [pair for _, pair in pairs if not pair.is_dense]
        alpha = Counter(pair.scale * pair.rank for pair in factored).most_common(1)[0][0] if factored else 1.0
        for key, pair in pairs:
            if not pair.is_layer:
                planned.append(dense(pair, key, self.dtype, key))
                continue
            if pair.is_dense:
                planned.append(dense(pair, f"{key}.diff", self.dtype, key))
                continue
            keys = f"{key}.lora_down.weight", f"{key}.lora_up.weight"
            own = pair.scale * pair.rank if exact else alpha
            planned += factors(pair, keys, self.dtype, key, balanced(pair.scale * pair.rank / own))
            planned.append(Planned.of(f"{key}.alpha", torch.tensor(own, dtype=torch.float32)))
        found = kohya_labels.metadata(labels, base, alpha=alpha, rank=_single({pair.rank for pair in factored}))
        return tensors.write(path, planned, found, seal=hashes)

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """ComfyUI and A1111 read what lies in their own folders."""
        webuis = ", ".join(facts.family.card.webuis)
        folders = {"ComfyUI": COMFYUI} if facts.family.flat_in_comfyui else {}
        folders |= {webuis: _WEBUI} if webuis else {}
        yield from single_file.copied(self.folder, place, self.files(facts), folders)

    def readers_of(self, family: Family) -> str:
        """ComfyUI knows the flat names of some families by its own alone."""
        return super().readers_of(family) if family.flat_in_comfyui else "kohya's programs"


def _pairs(adapter: Adapter, base: Base, components: Sequence[str]) -> Iterator[tuple[str, LowRank]]:
    """Key, without its ending where that of a layer, and pair."""
    for component in components:
        part = base.components[component]
        modules = whole_norms(part, adapter.components[component])
        is_denoiser = component in base.denoisers
        prefix = "lora_unet_" if is_denoiser else base.family.text_encoders[component].kohya[0]
        originals = None
        named: Iterable[tuple[str, LowRank]] = modules.items()
        if is_denoiser and not base.family.flat_is_canonical:
            layout = part.layout_for(modules)
            originals, named = layout.originals, in_original_names(layout, modules)
        for module, pair in named:
            if pair.is_layer:
                yield f"{prefix}{flat(module)}", pair
            else:
                canonical = module if originals is None else originals[module].parts[0].canonical
                owner, ending = kohya_key(module, canonical, part)
                yield f"{prefix}{flat(owner)}.{ending}", pair


def _single(values: set[Any]) -> str:
    return str(values.pop()) if len(values) == 1 else "Dynamic"
