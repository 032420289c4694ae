"""PEFT's format: a folder with adapter_config.json and adapter_model.safetensors, one for each component."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loramerge.adapter import BASE, TASK, TASKS_WITH_HEADS
from loramerge.errors import SourceError
from loramerge.families import TRANSFORMERS_COMPONENT
from loramerge.files.writing import writing
from loramerge.formats import dora
from loramerge.formats.adapter_output import AdapterOutput, Components
from loramerge.formats.assemble import alpha_over_rank, assemble
from loramerge.formats.loading import Snippet
from loramerge.formats.model_spec import HASH, content_seal, converted
from loramerge.formats.module_names import places
from loramerge.formats.peft_config import Scaling, settings_for
from loramerge.formats.saved import SETTING
from loramerge.formats.spelling import spelled
from loramerge.formats.stacked_pairs import (
    dora_on_parameter,
    keys_of,
    notes_of,
    shares_of,
    stacked_pairs,
    weights_for_peft,
)
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned, factors

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base
    from loramerge.formats.assemble import ScaleRule, TensorPlace
    from loramerge.formats.labels import Labels
    from loramerge.formats.loading import Address, Facts
    from loramerge.formats.lora_file import LoraFile
    from loramerge.formats.output import MergeResult

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)
"""A name on the Hub: a path of somebody's machine is nobody else's business."""


class PeftOutput(AdapterOutput):
    """One folder per component, as `PeftModel.from_pretrained(model, …, subfolder=…)` takes it."""

    default_folder: ClassVar[str] = "peft"
    readers: ClassVar[str] = "PEFT"
    is_one_file: ClassVar[bool] = False
    holds_saved: ClassVar[bool] = True
    holds_rescaled: ClassVar[bool] = True
    needs_pipeline: ClassVar[bool] = False

    format: Literal["peft"]

    @staticmethod
    def read(file: LoraFile, base: Base) -> Components:
        """Alpha and rank come from adapter_config.json; the component from the folder's name or from what fits."""
        found = dict(places(file, base))
        return assemble(file.reference, file.tensors, found.items(), _scale_rule(file, found))

    def folded(self, pair: LowRank) -> tuple[float, float]:
        """The sign alone: an alpha of PEFT's is positive."""
        return 1.0, math.copysign(1.0, pair.scale)

    def write(self, result: MergeResult, folder: Path) -> Mapping[str, str | None]:
        """Write the merged LoRA, or the merged DoRA."""
        adapter = dora.throughout(result.adapter, result.weights)
        result.notes.extend(f"output {self.folder}: {note}" for note in self.told(adapter, result.base))
        return self.write_adapter(adapter, result.base, result.labels, folder)

    def write_adapter(
        self, adapter: Adapter, base: Base, labels: Labels, folder: Path, *, exact: bool = False
    ) -> Mapping[str, str | None]:
        """Write `<component>/adapter_config.json` and `<component>/adapter_model.safetensors`.

        Those of a lone model lie at the top.
        """
        del exact  # it always is: PEFT's settings have an alpha for each module
        digests: dict[str, str | None] = {}
        metadata = {**(converted(labels, base) if labels.is_converted else {}), **labels.origin(), **labels.kept}
        for component in adapter.components:
            part = folder_of(component)
            written = write_folder(adapter, component, base, self.dtype, folder / part, metadata)
            digests["/".join(filter(None, (part, WEIGHTS)))] = written
        return digests

    def pairs(self, adapter: Adapter, base: Base) -> Iterator[tuple[str, LowRank]]:
        """Of an expert's layers that are one parameter one pair."""
        for component, modules in adapter.components.items():
            yield from ((f"{component}.{name}", pair) for name, pair in shares_of(base.components[component], modules))

    def told(self, adapter: Adapter, base: Base) -> Iterator[str]:
        """How many zeros there are among the experts, and where ranks grow."""
        yield from notes_of(adapter, base)

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """A PeftModel around each component."""
        yield loading(f"PEFT: `{self.folder}`", place, facts, {name: folder_of(name) for name in facts.components})


def loading(title: str, place: Address, facts: Facts, folders: Mapping[str, str]) -> Snippet:
    """Code that puts PEFT adapters around components of the base.

    Args:
        title: What it is for.
        place: Where the output is to be had.
        facts: Has the line that loads the base.
        folders: Component → folder of its adapter, below the output's.
    """
    pipeline, lines = facts.pipeline, []
    for component, folder in folders.items():
        name = pipeline.variable if component == TRANSFORMERS_COMPONENT else f"{pipeline.variable}.{component}"
        lines.append(f"{name} = PeftModel.from_pretrained({name}, {place.arguments(folder)})")
    return Snippet.python(
        title, *pipeline.imports, "from peft import PeftModel", "", *pipeline.loaded(facts.base), *lines
    )


def folder_of(component: str) -> str:
    """Where a component's adapter lies, below the output's folder: a lone model's lies at its top."""
    return "" if component == TRANSFORMERS_COMPONENT else component


def write_folder(
    adapter: Adapter, component: str, base: Base, dtype: str, folder: Path, metadata: Mapping[str, str] | None = None
) -> str | None:
    """One component's pairs, and what was trained in full, as a PEFT adapter; returns the SHA-256 of its weights.

    Modules bear the names that they have in memory under the installed transformers: PEFT matches keys exactly. Where
    one is a DoRA all have to be: PEFT has one setting for that.
    """
    from peft import LoraConfig

    part, modules, saved = base.components[component], adapter.components[component], adapter.saved.get(component, {})
    stacked = stacked_pairs(part, modules)
    modules = {module: pair for module, pair in modules.items() if module not in part.of_experts}
    described = {
        module: (dora.rank_of(pair), 1.0 if pair.is_rescaled else abs(pair.scale)) for module, pair in modules.items()
    } | {name: (pair.rank, pair.scale) for name, pair in stacked.items()}
    layers = [*(module for module in part.modules if module not in part.of_experts), *part.stacks]
    named = {module: part.live.get(module, module) for module in layers}
    weights = {module: f"{named[module]}.weight" for module in weights_for_peft(part, named)}
    named |= weights
    by_parameter = {*part.stacks, *weights.values()}
    settings = settings_for(described, layers, lambda module: named[module], by_parameter)
    beside = _beside_ranks(adapter, component, base)
    use_dora = any(pair.is_rescaled for pair in modules.values())
    if use_dora and settings.get("target_parameters"):
        raise dora_on_parameter(settings["target_parameters"][0])
    config = LoraConfig(inference_mode=True, use_dora=use_dora, **settings, **beside).to_dict()
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    planned: list[Planned] = []
    for module, pair in modules.items():
        key = f"{_PREFIX}{part.live[module]}"
        if pair.is_rescaled:
            planned += dora.planned(pair, key, dtype, module)
            continue
        sign = math.copysign(1.0, pair.scale)
        planned += factors(pair, (f"{key}.lora_A.weight", f"{key}.lora_B.weight"), dtype, module, (1.0, sign))
    for name, begins in keys_of(stacked).items():
        planned += stacked[name].planned(f"{_PREFIX}{begins}", dtype)
    for name, tensor in saved.items():
        module, _, parameter = name.rpartition(".")
        inner = ".base_layer" if module in modules else ""
        key = f"{_PREFIX}{part.live.get(module, module)}{inner}.{parameter}"
        planned.append(Planned(key, tensor.dtype, tensor.shape, tensor.read))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    said = {"format": "pt", **(metadata or {})}
    return tensors.write(folder / WEIGHTS, planned, said, seal=content_seal if HASH in said else None)


def _beside_ranks(adapter: Adapter, component: str, base: Base) -> dict[str, Any]:
    """What LoraConfig says beside ranks and scales."""
    repository = base.reference.removeprefix("hf://") if base.reference.startswith("hf://") else None
    if component != TRANSFORMERS_COMPONENT:
        return {BASE: repository}
    part = base.components[component]
    saved, task, said = adapter.saved.get(component, {}), adapter.settings.get(TASK), adapter.settings.get(BASE, "")
    wrapped = {tensor.module for tensor in saved.values()} - {None}
    return {
        BASE: repository or (said if _REPOSITORY.fullmatch(said) else None),
        TASK: task if saved or task not in TASKS_WITH_HEADS else None,
        SETTING: sorted(part.live.get(str(module), str(module)) for module in wrapped) or None,
        "fan_in_fan_out": bool(part.transposed),
    }


def _scale_rule(file: LoraFile, places: Mapping[str, Sequence[TensorPlace]]) -> ScaleRule:
    reference = file.reference
    if file.config is None:
        return _own_alpha(reference)
    scaling = Scaling(f"{reference} ({CONFIG})", file.config)
    written = {
        (place.component, place.module): name.written
        for key, held in places.items()
        if (name := spelled(key)) is not None
        for place in held
    }

    def scale_of(component: str, module: str, rank: int | None, alpha: float | None) -> float:
        said = written[component, module]
        # PEFT looks for patterns in the parameter's name, of which the expert's layer may have nothing.
        names = (file.shares[said], "") if said in file.shares else (module, said)
        if rank is not None and scaling.rank(*names) != rank:
            raise SourceError(f"{reference}: {module} has rank {rank}, {CONFIG} says {scaling.rank(*names)}")
        scale = scaling.scale(*names)
        if alpha is not None and not math.isclose(alpha_over_rank(component, module, rank, alpha), scale):
            raise SourceError(f"{reference}: {module} has an alpha of its own, {alpha:g}, and {CONFIG} says another")
        return scale

    return scale_of


def _own_alpha(reference: str) -> ScaleRule:
    """For a file alone: all modules have to have alphas of their own."""

    def scale_of(component: str, module: str, rank: int | None, alpha: float | None) -> float:
        if alpha is None:
            raise SourceError(
                f"{reference} is a PEFT adapter without its {CONFIG}, so its alpha is unknown",
                hint="name the folder that holds both files instead of the file",
            )
        return alpha_over_rank(component, module, rank, alpha)

    return scale_of
