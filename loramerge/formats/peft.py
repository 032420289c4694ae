"""PEFT's format: a folder with adapter_config.json and adapter_model.safetensors, one for each component."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from loramerge.bases.base import canonical
from loramerge.errors import SourceError
from loramerge.files.writing import writing
from loramerge.formats.adapter_output import AdapterOutput, Components
from loramerge.formats.assemble import Role, TensorPlace, assemble
from loramerge.formats.loading import IMPORT_DIFFUSERS, Snippet
from loramerge.formats.peft_config import Scaling, settings_for
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned, factors

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, Modules
    from loramerge.bases.base import Base
    from loramerge.formats.labels import Labels
    from loramerge.formats.loading import Address, Facts
    from loramerge.formats.lora_file import LoraFile
    from loramerge.tensor_files.safetensors import TensorFile

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_SUFFIXES: dict[str, Role] = {".lora_A.weight": "down", ".lora_B.weight": "up"}


class PeftOutput(AdapterOutput):
    """One folder per component, as `PeftModel.from_pretrained(model, …, subfolder=…)` takes it."""

    default_folder: ClassVar[str] = "peft"
    readers: ClassVar[str] = "PEFT"
    is_one_file: ClassVar[bool] = False

    format: Literal["peft"]

    @staticmethod
    def recognises(key: str) -> bool:
        """`base_model.model.….lora_A.weight` and the like."""
        return key.startswith(_PREFIX) and key.endswith(tuple(_SUFFIXES))

    @staticmethod
    def read(file: LoraFile, base: Base) -> Components:
        """Alpha and rank come from adapter_config.json; the component from the folder's name or from what fits."""
        reference = file.reference
        if file.config is None:
            raise SourceError(
                f"{reference} is a PEFT adapter without its {CONFIG}, so its alpha is unknown",
                hint="name the folder that holds both files instead of the file",
            )
        scaling = Scaling(f"{reference} ({CONFIG})", file.config)
        names = {key: _stem(key) for key in file.tensors.keys}
        component = file.component or _component(file.tensors, names, base)

        def scale_of(component: str, module: str, rank: int, alpha: float | None) -> float:
            del component, alpha
            if scaling.rank(module) != rank:
                raise SourceError(f"{reference}: {module} has rank {rank}, {CONFIG} says {scaling.rank(module)}")
            return scaling.scale(module)

        return assemble(reference, file.tensors, _places(names, component), scale_of)

    def write_adapter(self, adapter: Adapter, base: Base, labels: Labels, folder: Path) -> dict[str, str]:
        """Write `<component>/adapter_config.json` and `<component>/adapter_model.safetensors`."""
        return {
            f"{component}/{WEIGHTS}": write_folder(
                modules, component, base, self.dtype, folder / component, labels.origin()
            )
            for component, modules in adapter.components.items()
        }

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """A PeftModel around each component."""
        yield loading(f"PEFT: `{self.folder}`", place, facts, {name: name for name in facts.components})


def loading(title: str, place: Address, facts: Facts, folders: Mapping[str, str]) -> Snippet:
    """Code that puts PEFT adapters around components of the base.

    Args:
        title: What it is for.
        place: Where the output is to be had.
        facts: Has the line that loads the base.
        folders: Component → folder of its adapter, below the output's.
    """
    lines = [
        f"pipeline.{component} = PeftModel.from_pretrained(pipeline.{component}, {place.arguments(folder)})"
        for component, folder in folders.items()
    ]
    return Snippet.python(title, IMPORT_DIFFUSERS, "from peft import PeftModel", "", facts.base, *lines)


def write_folder(
    modules: Modules, component: str, base: Base, dtype: str, folder: Path, metadata: Mapping[str, str] | None = None
) -> str:
    """One component's pairs as a PEFT adapter; returns the SHA-256 of its weights.

    Modules bear the names that they have in memory under the installed transformers: PEFT matches keys exactly.
    """
    from peft import LoraConfig

    part = base.components[component]
    described = {module: (pair.rank, pair.scale) for module, pair in modules.items()}
    settings = settings_for(described, part.modules, lambda module: part.live[module])
    repository = base.reference.removeprefix("hf://") if base.reference.startswith("hf://") else None
    config = LoraConfig(base_model_name_or_path=repository, inference_mode=True, **settings).to_dict()
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    planned: list[Planned] = []
    for module, pair in modules.items():
        key = f"{_PREFIX}{part.live[module]}"
        planned += factors(pair, (f"{key}.lora_A.weight", f"{key}.lora_B.weight"), dtype, module)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return tensors.write(folder / WEIGHTS, planned, {"format": "pt", **(metadata or {})})


def _places(names: Mapping[str, tuple[str, Role] | None], component: str) -> Iterable[tuple[str, TensorPlace | None]]:
    for key, named in names.items():
        yield key, named and TensorPlace(component, canonical(component, named[0]), named[1])


def _stem(key: str) -> tuple[str, Role] | None:
    ending = next((ending for ending in _SUFFIXES if key.endswith(ending)), None)
    if ending is None or not key.startswith(_PREFIX):
        return None
    return key.removeprefix(_PREFIX).removesuffix(ending), _SUFFIXES[ending]


def _component(file: TensorFile, names: Mapping[str, tuple[str, Role] | None], base: Base) -> str:
    """The component whose modules fit best, by name and by width: SDXL's text encoders differ in width alone."""

    def fit(component: str) -> int:
        shapes = base.components[component].modules
        hits = 0
        for key, named in names.items():
            if named is None:
                continue
            shape = shapes.get(canonical(component, named[0]))
            if shape is not None:
                side = 1 if named[1] == "down" else 0
                hits += 2 if file.shape(key)[side] == shape[side] else 1
        return hits

    return max(base.components, key=fit)
