"""Fuse a merged LoRA into the files of a base."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loramerge.bases.architecture import Architecture
from loramerge.bases.base import SCHEDULER
from loramerge.bases.model_index import ModelIndex
from loramerge.bases.precision import stays, stays_of_another
from loramerge.bases.quantised import refuse_quantised
from loramerge.bases.replacement import SAFETY_CHECKER, takes_safety_checker
from loramerge.errors import SourceError
from loramerge.files.reading import content_of, read_json
from loramerge.files.reflink import copy
from loramerge.outputs.prepared import OutputWeights, PreparedOutput
from loramerge.tensor_files import shards
from loramerge.tensor_files.fuse_plan import TensorChange, canonical_name, changes, keys_of, stored_in, with_lora
from loramerge.tensor_files.header import ITEM_SIZES, STORED_AS

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, Modules
    from loramerge.bases.base import Base
    from loramerge.bases.pipeline_files import PipelineFiles
    from loramerge.bases.replacement import Replacement
    from loramerge.outputs.fused import FusedOutput
    from loramerge.outputs.scheduler import Scheduler
    from loramerge.tensor_files.rounding_loss import RoundingLoss

_INDEX = "model_index.json"
_CONFIG = "config.json"
_SAID_AS = {stored: dtype for dtype, stored in STORED_AS.items() if ITEM_SIZES[stored] > 1}
"""In which libraries compute; nobody does in 8 bits."""
_DTYPE_SETTINGS = ("dtype", "torch_dtype")  # transformers 5, transformers 4
_NO_MODULES: Modules = MappingProxyType({})


def fuse(
    files: PipelineFiles,
    base: Base,
    adapter: Adapter,
    output: FusedOutput,
    folder: Path,
    loss: RoundingLoss | None = None,
    others: Mapping[str, Replacement] = MappingProxyType({}),
) -> PreparedOutput:
    """Plan the fused pipeline.

    No model is loaded: weights go from file to file in blocks. Where the LoRA touches one, the sum is formed in
    float32 and rounded once, to the output's dtype or the file's own; all others are converted to it, or copied.
    Configs, tokenizers, schedulers and the like are the base's own.

    Args:
        files: The base's, weights included.
        base: The base without its weights.
        adapter: The merged LoRA.
        output: dtype, scale and shard size.
        folder: Where to; it exists and is empty.
        loss: Told of sums that are rounded to 8 bits.
        others: Component → what takes its place.

    Returns:
        SHA-256 of the files of weights, by their '/'-separated names below `folder`.

    Raises:
        SourceError: The base's files are incomplete, damaged or do not fit its configs.
    """
    index = read_json(files.folder / _INDEX, f"{base.reference}/{_INDEX}")
    index = _with_others(index, output, others)
    largest = shards.size_of(output.max_shard_size)
    parsed = ModelIndex.parse(index, base.reference)
    components = {
        name: _planned(files, name, parsed, base, adapter.components.get(name, _NO_MODULES), output)
        if name not in others
        else _replaced(others[name], name, output)
        for name in _components(files, index, base.reference, others)
    }

    def settings() -> None:
        _write_settings(files.folder / _INDEX, index, folder / _INDEX)
        for name, planned in components.items():
            (folder / name).mkdir()
            stored_as = {change.dtype for change in planned}
            if other := others.get(name):
                copy_settings(other.files, "", stored_as, other.reference, folder / name)
            else:
                copy_settings(files, name, stored_as, base.reference, folder)
        if output.scheduler is not None:
            _write_scheduler(files, output.scheduler, base.reference, folder)

    weights = tuple(
        OutputWeights.sharded(planned, planned[0].stored.path, largest, folder / name, f"{name}/")
        for name, planned in components.items()
        if planned
    )
    return PreparedOutput(folder, settings, weights, loss)


def _write_scheduler(files: PipelineFiles, scheduler: Scheduler, reference: str, folder: Path) -> None:
    before = read_json(files.folder / SCHEDULER, f"{reference}/{SCHEDULER}")
    (folder / SCHEDULER).unlink()
    _write_settings(files.folder / SCHEDULER, scheduler.config(before), folder / SCHEDULER)


def _with_others(index: dict[str, Any], output: FusedOutput, others: Mapping[str, Replacement]) -> dict[str, Any]:
    """The model_index.json of the pipeline as it is written."""
    if output.scheduler is not None:
        index = {**index, "scheduler": ["diffusers", output.scheduler.class_name]}
    index = {**index, **{name: [*other.entry] for name, other in others.items()}}
    dropped = {name: [None, None] for name, source in output.other_components.items() if source is None}
    if SAFETY_CHECKER in dropped and takes_safety_checker(str(index.get("_class_name"))):
        index = {**index, "requires_safety_checker": False}
    return {**index, **dropped}


def _replaced(other: Replacement, name: str, output: FusedOutput) -> Sequence[TensorChange]:
    """All tensors of a component from elsewhere, which are those of its config."""
    stored = stored_in(
        [other.files.folder / file for file in other.files.names if file.endswith(".safetensors")], other.reference
    )
    refuse_quantised((tensor.key for tensor in stored), other.reference)
    config = read_json(other.files.folder / _CONFIG, f"{other.reference}/{_CONFIG}")
    stay = stays_of_another(config, other.entry, output.dtype, keys_of(stored)) if output.dtype else ()
    planned = changes(stored, output.stored_as, other.reference, stay)
    component = Architecture.of(config, *other.entry).component(name, f"{other.reference}/{_CONFIG}")
    return with_lora(planned, component, _NO_MODULES, 1.0, other.reference)


def _components(files: PipelineFiles, index: dict[str, Any], reference: str, others: Collection[str] = ()) -> list[str]:
    """The folders of what the pipeline consists of."""
    parsed = ModelIndex.parse(index, reference)
    folders = {name.partition("/")[0] for name in files.names if "/" in name}
    named = sorted({*parsed.classes, *filter(parsed.owner, folders)})
    for name in named:
        present = {file.partition("/")[2] for file in files.names if file.startswith(f"{name}/")}
        if name not in others and (not present or (_CONFIG in present and not files.weights(name))):
            lacks = "weights" if present else "files"
            raise SourceError(
                f"{reference} can't be loaded as a pipeline: {name} has no {lacks}", hint="fetch the base again"
            )
    return named


def _planned(
    files: PipelineFiles, name: str, index: ModelIndex, base: Base, modules: Modules, output: FusedOutput
) -> Sequence[TensorChange]:
    shown = f"{base.reference}/{name}"
    stored = stored_in(files.weights(name), shown)
    refuse_quantised((tensor.key for tensor in stored), shown)
    if name not in base.components:
        stay = _stay_of_another(files, name, index, output.dtype, keys_of(stored), shown) if output.dtype else ()
        return changes(stored, output.stored_as, shown, stay)
    component = base.components[name]
    names = {key: canonical_name(component, key) for key in keys_of(stored)}
    planned = changes(
        stored, output.stored_as, shown, stays(component, output.dtype, names, names) if output.dtype else ()
    )
    return with_lora(planned, base.components[name], modules, output.lora_scale, shown)


def _stay_of_another(
    files: PipelineFiles, name: str, index: ModelIndex, dtype: str, keys: Collection[str], shown: str
) -> frozenset[str]:
    """Tensors that keep their number format, of a component that LoRAs do not touch."""
    owner = index.owner(name)
    place = f"{name}/{_CONFIG}"
    config = read_json(files.folder / place, f"{shown}/{_CONFIG}") if place in files.names else {}
    return stays_of_another(config, index.classes.get(str(owner), ("", "")), dtype, keys)


def copy_settings(
    files: PipelineFiles,
    name: str,
    stored_as: Iterable[str],
    reference: str,
    folder: Path,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write everything of a component but weights. A config says their format, and not where they once lay.

    Args:
        files: The base's.
        name: The component's folder; empty where the base is that alone.
        stored_as: Number formats of the weights, as a header spells them.
        reference: The base, for messages.
        folder: Where to.
        more: Settings of the config that are no longer what they were.
    """
    place = f"{name}/" if name else ""
    for file in files.names:
        if not file.startswith(place) or file.endswith(".safetensors") or shards.is_index(file):
            continue
        if file == f"{place}{_CONFIG}":
            settings = read_json(files.folder / file, f"{reference}/{file}")
            numbers = sorted(ITEM_SIZES.keys() & stored_as, key=lambda dtype: (ITEM_SIZES[dtype], dtype))
            dtype = _SAID_AS.get(numbers[-1]) if numbers else None
            said = {key: dtype for key in _DTYPE_SETTINGS if dtype and key in settings}
            _write_settings(files.folder / file, settings | said | dict(more), folder / file)
        else:
            copy(files.folder / file, folder / file)


def _write_settings(source: Path, settings: dict[str, Any], target: Path) -> None:
    """The file itself where there is nothing to change in it."""
    kept = {key: value for key, value in settings.items() if key != "_name_or_path"}
    if kept == json.loads(content_of(source)):
        copy(source, target)
    else:
        target.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
