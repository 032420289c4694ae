"""diffusers' format: one file, `<component>.<module>.lora_A.weight`, and every older spelling of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loramerge.adapter import Adapter, balanced, exact_shares
from loramerge.errors import MismatchError, SourceError
from loramerge.families import FAMILIES
from loramerge.formats.adapter_output import AdapterOutput, Components
from loramerge.formats.assemble import ScaleRule, alpha_over_rank, assemble
from loramerge.formats.denoiser_files import by_denoiser
from loramerge.formats.loading import Snippet
from loramerge.formats.model_spec import TRIGGER_PHRASE, content_seal, converted
from loramerge.formats.module_names import UNKNOWN, places
from loramerge.formats.peft_config import Scaling, settings_for
from loramerge.messages import all_of, any_of
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned, factors

if TYPE_CHECKING:
    from loramerge.adapter import LowRank
    from loramerge.bases.base import Base
    from loramerge.families import Family
    from loramerge.formats.labels import Labels
    from loramerge.formats.loading import Address, Facts
    from loramerge.formats.lora_file import LoraFile

FILE = "pytorch_lora_weights.safetensors"
_METADATA = "lora_adapter_metadata"
Shares = Callable[["LowRank"], tuple[float, float]]
"""What down and up of a pair are multiplied by to take on its scale."""


class DiffusersOutput(AdapterOutput):
    """`pytorch_lora_weights.safetensors`, as `load_lora_weights` takes it.

    Of two denoisers each has a file of its own, and both files have the names of the first: `load_lora_weights` takes
    what it finds under these into the denoiser that it is told.
    """

    default_folder: ClassVar[str] = "diffusers"
    readers: ClassVar[str] = "diffusers"

    format: Literal["diffusers"]

    @staticmethod
    def read(file: LoraFile, base: Base) -> Components:
        """The scale is 1 unless the file has `.alpha` tensors, or PEFT's settings in its metadata."""
        return assemble(file.reference, file.tensors, places(file, base), _scale_rule(file, base))

    def readers_of(self, family: Family) -> str:
        """ComfyUI knows diffusers' names of some families; of a UNet's it has others for the attention layers."""
        return "diffusers and ComfyUI" if family.diffusers_in_comfyui else super().readers_of(family)

    def check(self, base: Base, components: Collection[str]) -> None:
        """Parts that diffusers loads no LoRA for would be passed over without a word."""
        super().check(base, components)
        family = base.family
        if family.card.loads == "nothing" or family.name not in FAMILIES:
            return
        loaded = [*base.denoisers, *(family.loadable if family.card.loads == "pipeline" else ())]
        if lost := [component for component in components if component not in loaded]:
            raise MismatchError(
                f"`format: diffusers` has no place for {any_of(lost)} of {family.title}: diffusers loads LoRAs for "
                f"{all_of(name for name in loaded if name in base.components)} alone",
                hint="write `format: peft`, which has a folder for each part, or give that part the weight 0: "
                f"`{{{lost[0]}: 0}}`",
            )

    def top_names(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """The file has the name that diffusers looks for."""
        del recipe, loras
        return tuple(map(_file_name, parts))

    def folded(self, pair: LowRank) -> tuple[float, float]:
        """The scale: most programs that read such files know no alpha in them."""
        return exact_shares(pair.scale) if pair.scale != 1 else (1.0, 1.0)

    def cautions(self, pairs: Sequence[LowRank]) -> Iterator[str]:
        """Of scales that are in factors now."""
        if count := sum(pair.scale != 1 for pair in pairs):
            yield (
                f"the scale of {count} of {len(pairs)} modules is in their factors now: most programs know no alpha in "
                "diffusers' files"
            )

    def write_adapter(
        self, adapter: Adapter, base: Base, labels: Labels, folder: Path, *, exact: bool = False
    ) -> Mapping[str, str | None]:
        """Write the file. The scale is folded into the factors: readers that know no alpha get the same delta."""
        digests: dict[str, str | None] = {}
        for ending, components in by_denoiser(adapter.components, base.family, base.denoisers).items():
            name = _file_name(ending)
            chosen = Adapter({component: adapter.components[component] for component in components})
            shares = self.folded if exact else _balanced
            digests[name] = self._write_file(folder / name, chosen, base, labels, shares)
        return digests

    def _write_file(self, path: Path, adapter: Adapter, base: Base, labels: Labels, shares: Shares) -> str | None:
        planned: list[Planned] = []
        settings: dict[str, Any] = {}
        for component, modules in adapter.components.items():
            called = _called(component, base.denoisers)
            for module, pair in modules.items():
                keys = f"{called}.{module}.lora_A.weight", f"{called}.{module}.lora_B.weight"
                planned += factors(pair, keys, self.dtype, module, shares(pair))
            described = settings_for(
                {module: (pair.rank, 1.0) for module, pair in modules.items()},
                base.components[component].modules,
                _without_text_model,
            )
            settings |= {f"{called}.{key}": value for key, value in described.items()}
        metadata = {
            "format": "pt",
            "name": labels.name,
            _METADATA: json.dumps(settings, indent=2, sort_keys=True),
            **labels.origin(),
        }
        if labels.description:
            metadata["description"] = labels.description
        if labels.trigger_phrases:
            metadata[TRIGGER_PHRASE] = ", ".join(labels.trigger_phrases)
        if not labels.is_converted:
            return tensors.write(path, planned, metadata)
        return tensors.write(path, planned, {**converted(labels, base), **metadata, **labels.kept}, seal=content_seal)

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """`load_lora_weights`, or a denoiser's own `load_lora_adapter`, and what comes of it."""
        if facts.family.card.loads == "nothing":
            return
        files = by_denoiser(facts.components, facts.family, facts.denoisers)
        loads = [_loading(place.arguments(weight_name=_file_name(each)), files[each], facts) for each in files]
        pipeline = facts.pipeline
        lines = (*pipeline.imports_to_make, "", *pipeline.loaded(facts.base), *loads, *pipeline.made(place))
        yield Snippet.python(f"diffusers: `{self.folder}`", *lines)


def _balanced(pair: LowRank) -> tuple[float, float]:
    return balanced(pair.scale)


def _file_name(ending: str) -> str:
    name = PurePosixPath(FILE)
    return f"{name.stem}{ending}{name.suffix}"


def _called(component: str, denoisers: Sequence[str]) -> str:
    """What its names begin with: for every denoiser, what those of the first do."""
    return denoisers[0] if component in denoisers else component


def _loading(arguments: str, components: Sequence[str], facts: Facts) -> str:
    """The line that loads a file."""
    denoiser = next((name for name in facts.denoisers if name in components), facts.denoisers[0])
    if facts.family.card.loads == "model":
        return f"pipeline.{denoiser}.load_lora_adapter({arguments})"
    other = f", load_into_{denoiser}=True" if denoiser != facts.denoisers[0] else ""
    return f"pipeline.load_lora_weights({arguments}{other})"


def _scale_rule(file: LoraFile, base: Base) -> ScaleRule:
    reference, scalings = file.reference, _scalings(file.reference, file.tensors.metadata)
    # A file for the second denoiser has the names of the first.
    first = scalings.get(base.main) if file.denoiser else None

    def scale_of(component: str, module: str, rank: int | None, alpha: float | None) -> float:
        # What is of no known component still has the name that the file gives to it: `transformer.…`.
        said, _, name = module.partition(".") if component == UNKNOWN else (component, "", module)
        scaling = scalings.get(said) or (first if said == file.denoiser else None) or scalings.get("")
        if scaling is None:
            return alpha_over_rank(component, module, rank, alpha)
        if alpha is not None:
            raise SourceError(f"{reference}: {component}.{module} has an alpha in the metadata and one of its own")
        if rank is not None and scaling.rank(module, name) != rank:
            raise SourceError(
                f"{reference}: {component}.{module} has rank {rank}, the metadata says {scaling.rank(module, name)}"
            )
        return scaling.scale(module, name)

    return scale_of


def _scalings(reference: str, metadata: Mapping[str, str]) -> dict[str, Scaling]:
    """PEFT's settings by component; under "" those of a file that names none, as `unet.save_lora_adapter()` writes."""
    if _METADATA not in metadata:
        return {}
    try:
        settings: dict[str, Any] = json.loads(metadata[_METADATA])
        items: Iterable[tuple[str, Any]] = sorted(settings.items())
    except (ValueError, AttributeError, RecursionError) as error:
        raise SourceError(f"{reference}: its metadata {_METADATA} is not a JSON object: {error}") from None
    by_component: dict[str, dict[str, Any]] = {}
    for key, value in items:
        component, _, name = key.rpartition(".")
        by_component.setdefault(component, {})[name] = value
    return {
        component: Scaling(f"{reference} ({component or _METADATA})", config)
        for component, config in by_component.items()
    }


def _without_text_model(module: str) -> str:
    # PEFT matches the ends of names, so this hits the module with and without transformers' `text_model.` in front.
    return module.removeprefix("text_model.")
