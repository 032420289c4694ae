"""Fuse a merged LoRA into the files of a base."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loramerge.bases.base import SCHEDULER
from loramerge.bases.model_index import ModelIndex
from loramerge.bases.quantised import refuse_quantised
from loramerge.errors import SourceError
from loramerge.files.reading import content_of, read_json
from loramerge.files.reflink import copy
from loramerge.files.writing import check_room, writing
from loramerge.tensor_files import shards
from loramerge.tensor_files.fuse_plan import TensorChange, changes, stored_in, with_lora
from loramerge.tensor_files.header import ITEM_SIZES, STORED_AS
from loramerge.tensor_files.stream import write_blocks

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, Modules
    from loramerge.bases.base import Base
    from loramerge.bases.pipeline_files import PipelineFiles
    from loramerge.outputs.fused import FusedOutput
    from loramerge.outputs.scheduler import Scheduler
    from loramerge.tensor_files.rounding_loss import RoundingLoss

_INDEX = "model_index.json"
_CONFIG = "config.json"
_SAID_AS = {stored: dtype for dtype, stored in STORED_AS.items()}
_DTYPE_SETTINGS = ("dtype", "torch_dtype")  # transformers 5, transformers 4
_NO_MODULES: Modules = MappingProxyType({})


def fuse(
    files: PipelineFiles,
    base: Base,
    adapter: Adapter,
    output: FusedOutput,
    folder: Path,
    loss: RoundingLoss | None = None,
) -> dict[str, str]:
    """Write the fused pipeline.

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

    Returns:
        SHA-256 of the files of weights, by their '/'-separated names below `folder`.

    Raises:
        SourceError: The base's files are incomplete, damaged or do not fit its configs.
        LoramergeError: A sum does not fit the dtype, or the folder can't be written.
    """
    digests: dict[str, str] = {}
    index = read_json(files.folder / _INDEX, f"{base.reference}/{_INDEX}")
    with writing(folder):
        if output.scheduler is not None:
            index = {**index, "scheduler": ["diffusers", output.scheduler.class_name]}
        largest = shards.size_of(output.max_shard_size)
        components = {
            name: _planned(files, name, base, adapter.components.get(name, _NO_MODULES), output)
            for name in _components(files, index, base.reference)
        }
        computed = [planned for planned in components.values() if planned and not _is_copied(planned, largest)]
        check_room(folder, sum(change.size for planned in computed for change in planned))
        _write_settings(files.folder / _INDEX, index, folder / _INDEX)
        for name, planned in components.items():
            (folder / name).mkdir()
            copy_settings(files, name, {change.dtype for change in planned}, base.reference, folder)
            written = write_weights(planned, largest, folder / name, loss) if planned else {}
            digests |= {f"{name}/{file}": digest for file, digest in written.items()}
        if output.scheduler is not None:
            _write_scheduler(files, output.scheduler, base.reference, folder)
    return digests


def _write_scheduler(files: PipelineFiles, scheduler: Scheduler, reference: str, folder: Path) -> None:
    if SCHEDULER not in files.names:
        raise SourceError(
            f"{reference} has no {SCHEDULER} whose place another could take", hint="leave `scheduler` out"
        )
    before = read_json(files.folder / SCHEDULER, f"{reference}/{SCHEDULER}")
    (folder / SCHEDULER).unlink()
    _write_settings(files.folder / SCHEDULER, scheduler.config(before), folder / SCHEDULER)


def _components(files: PipelineFiles, index: dict[str, Any], reference: str) -> list[str]:
    """The folders of what the pipeline consists of."""
    parsed = ModelIndex.parse(index, reference)
    folders = {name.partition("/")[0] for name in files.names if "/" in name}
    named = sorted({*parsed.classes, *filter(parsed.owner, folders)})
    for name in named:
        present = {file.partition("/")[2] for file in files.names if file.startswith(f"{name}/")}
        if not present or (_CONFIG in present and not files.weights(name)):
            lacks = "weights" if present else "files"
            raise SourceError(
                f"{reference} can't be loaded as a pipeline: {name} has no {lacks}", hint="fetch the base again"
            )
    return named


def _planned(
    files: PipelineFiles, name: str, base: Base, modules: Modules, output: FusedOutput
) -> Sequence[TensorChange]:
    shown = f"{base.reference}/{name}"
    stored = stored_in(files.weights(name), shown)
    refuse_quantised((tensor.key for tensor in stored), shown)
    planned = changes(stored, STORED_AS[output.dtype] if output.dtype else None, shown)
    if name not in base.components:
        return planned
    return with_lora(planned, base.components[name], modules, output.lora_scale, shown)


def write_weights(
    planned: Sequence[TensorChange], largest: int, folder: Path, loss: RoundingLoss | None
) -> dict[str, str]:
    """Write shards and their index.

    Args:
        planned: All tensors of a component.
        largest: Bytes that a shard holds.
        folder: Where to; it exists.
        loss: Told of sums that are rounded to 8 bits.

    Returns:
        The digests of the shards by name.
    """
    source = planned[0].stored.path
    stem = "model" if source.name.startswith("model") else "diffusion_pytorch_model"
    parts = shards.split(planned, largest)
    names = shards.names(stem, len(parts))
    if _is_copied(planned, largest):
        place = planned[0].stored.place
        digest = place.digest().sha256
        copy(source, folder / names[0])
        place.check()  # what was copied is what was hashed
        return {names[0]: digest}
    digests = {name: write_blocks(folder / name, part, loss=loss) for name, part in zip(names, parts, strict=True)}
    if len(parts) > 1:
        where = {change.stored.key: name for name, part in zip(names, parts, strict=True) for change in part}
        text = shards.index(where, sum(change.size for change in planned))
        (folder / f"{stem}.safetensors.index.json").write_text(text, encoding="utf-8")
    return digests


def _is_copied(planned: Sequence[TensorChange], largest: int) -> bool:
    """Whether a component stays the one file that it is, which may take no room on the disk."""
    source = planned[0].stored.path
    plain = all(change.is_plain and change.stored.path == source for change in planned)
    return plain and len(shards.split(planned, largest)) == 1


def copy_settings(files: PipelineFiles, name: str, stored_as: Iterable[str], reference: str, folder: Path) -> None:
    """Write everything of a component but weights. A config says their format, and not where they once lay.

    Args:
        files: The base's.
        name: The component's folder; empty where the base is that alone.
        stored_as: Number formats of the weights, as a header spells them.
        reference: The base, for messages.
        folder: Where to.
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
            _write_settings(files.folder / file, settings | said, folder / file)
        else:
            copy(files.folder / file, folder / file)


def _write_settings(source: Path, settings: dict[str, Any], target: Path) -> None:
    """The file itself where there is nothing to change in it."""
    kept = {key: value for key, value in settings.items() if key != "_name_or_path"}
    if kept == json.loads(content_of(source)):
        copy(source, target)
    else:
        target.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
