"""From the files of a LoRA to an adapter: which format, which pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from loramerge.adapter import Adapter
from loramerge.bases.blocks import COMPONENTS
from loramerge.deltas.dora import MAGNITUDE, SCALE
from loramerge.errors import SourceError
from loramerge.families import TRANSFORMERS_COMPONENT
from loramerge.files.reading import read_json
from loramerge.formats import FORMATS, embeddings, experts
from loramerge.formats.inner_model import shift_of
from loramerge.formats.lora_file import LoraFile
from loramerge.formats.peft import CONFIG, PeftOutput
from loramerge.formats.peft_config import told
from loramerge.formats.refused import refuse_keys
from loramerge.formats.saved import apart
from loramerge.formats.spelling import spelled
from loramerge.messages import some
from loramerge.tensor_files.safetensors import opened

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.formats.adapter_output import AdapterOutput
    from loramerge.tensor_files.saved import SavedTensor


def read_lora(
    reference: str, folder: Path, names: Sequence[str], base: Base, denoiser: str | None = None
) -> tuple[str, Adapter]:
    """Read a LoRA whatever its format; exactly one format must explain every tensor.

    Args:
        reference: For messages.
        folder: Where the files lie.
        names: What `lora_files` chose.
        base: Knows the modules that flat names stand for.
        denoiser: Which of the base's denoisers it is for, where that is said.

    Returns:
        The format's name and the adapter, whose numbers stay in the files until they are asked for.

    Raises:
        SourceError: No or two formats match, or the one that matches can't read it.
        MismatchError: Nothing says which of the base's denoisers it is for, or it has half of a fused layer.
    """
    components: dict[str, dict[str, Any]] = {}
    metadata: dict[str, str] = {}
    formats: set[type[AdapterOutput]] = set()
    saved: dict[str, SavedTensor] = {}
    inversions: dict[str, SavedTensor] = {}
    settings: dict[str, str] = {}
    notes: list[str] = []
    for name in names:
        if name.endswith(".safetensors"):
            file = _lora_file(reference, folder, name, names, denoiser)
            file = replace(file, shift=shift_of(file.reference, file.tensors.keys, base))
            file, parameters = apart(file, base)
            file, bundled = embeddings.apart(file)
            file = experts.apart(file, base)
            found = _format_of(file)
            formats.add(found)
            for component, modules in found.read(file, base).items():
                _add(components.setdefault(component, {}), component, modules, file.reference)
            metadata |= file.tensors.metadata
            saved |= parameters
            inversions |= bundled
            settings |= told(file.config or {})
            notes += [*([str(file.shift)] if file.shift else []), *file.notes]
    whole = {TRANSFORMERS_COMPONENT: saved} if saved else {}
    adapter = Adapter(components, metadata, whole, settings, tuple(notes), inversions)
    return _joined(formats), adapter


def format_of(reference: str, folder: Path, names: Sequence[str]) -> str:
    """The format of a LoRA, by the names in its headers; several, joined by `+`, where its files differ.

    Args:
        reference: For messages.
        folder: Where the files lie.
        names: What `lora_files` chose.

    Raises:
        SourceError: No or two formats match a file.
    """
    files = [name for name in names if name.endswith(".safetensors")]
    return _joined(_format_of(_lora_file(reference, folder, name, names)) for name in files)


def has_magnitudes(reference: str, folder: Path, names: Sequence[str]) -> bool:
    """Whether a LoRA is a DoRA, by the names in its headers.

    Args:
        reference: For messages.
        folder: Where the files lie.
        names: What `lora_files` chose.

    Raises:
        SourceError: A file can't be read.
    """
    files = [opened(folder / name, _shown(reference, name)) for name in names if name.endswith(".safetensors")]
    found = (spelled(key) for file in files for key in file.keys)
    return any(key is not None and key.role in {MAGNITUDE, SCALE} for key in found)


def _lora_file(reference: str, folder: Path, name: str, names: Sequence[str], denoiser: str | None = None) -> LoraFile:
    file = LoraFile(
        reference=_shown(reference, name),
        tensors=opened(folder / name, _shown(reference, name)),
        config=_config(reference, folder, name, names),
        component=_component_folder(name),
        denoiser=denoiser,
    )
    refuse_keys(file.reference, file.tensors.keys)
    return file


def _joined(formats: Iterable[type[AdapterOutput]]) -> str:
    return "+".join(sorted({found.default_folder for found in formats}))


def _add(known: dict[str, Any], component: str, modules: dict[str, Any], reference: str) -> None:
    twice = sorted(set(known) & set(modules))
    if twice:
        raise SourceError(
            f"{reference} holds {component}.{some(twice)}, which another file of the same source holds as well",
            hint="name the one folder to use as the source",
        )
    known.update(modules)


def _format_of(file: LoraFile) -> type[AdapterOutput]:
    keys = file.tensors.keys
    counts = {found: sum(map(found.recognises, keys)) for found in FORMATS}
    matching = {found: count for found, count in counts.items() if count}
    if len(matching) == 1 and file.config is not None:
        return PeftOutput  # its settings say the scale, whatever a trainer calls the modules: diffusion-pipe does
    if len(matching) == 1:
        return next(iter(matching))
    known = ", ".join(found.default_folder for found in FORMATS)
    if not matching:
        raise SourceError(
            f"{file.reference} has none of the key names that {known} LoRAs have; it has {some(keys) or 'no tensors'}",
            hint="convert it with the tool that made it",
        )
    seen = " and ".join(f"{count} keys of {found.default_folder}" for found, count in matching.items())
    raise SourceError(
        f"{file.reference} mixes formats: {seen}", hint="have its trainer write one of these formats alone"
    )


def _config(reference: str, folder: Path, name: str, names: Sequence[str]) -> dict[str, Any] | None:
    beside = str(PurePosixPath(name).with_name(CONFIG))
    if beside not in names:
        return None
    return read_json(folder / beside, _shown(reference, beside))


def _component_folder(name: str) -> str | None:
    parent = PurePosixPath(name).parent.name
    return parent if parent in COMPONENTS else None


def _shown(reference: str, name: str) -> str:
    return reference if reference.endswith(name) else f"{reference}/{name}"
