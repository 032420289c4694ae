"""What lies in a PEFT adapter beside its pairs: parameters that were trained in full, such as heads and embeddings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.families import TRANSFORMERS_COMPONENT
from loramerge.formats.refused import refuse_config
from loramerge.formats.spelling import spelled
from loramerge.messages import some
from loramerge.tensor_files.header import ITEM_SIZES
from loramerge.tensor_files.saved import SavedTensor

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.bases.component import Component
    from loramerge.formats.lora_file import LoraFile

SETTING = "modules_to_save"
_WRAPPER = "base_model.model."
# PEFT's wrappers around a module, which its own saving leaves out.
_INNER = re.compile(r"\.(?:modules_to_save(?:\.[^.]+)?|base_layer)(?=\.[^.]+$)")


def apart(file: LoraFile, base: Base) -> tuple[LoraFile, dict[str, SavedTensor]]:
    """The file without what was trained in full, and that by the names of the base's parameters.

    Args:
        file: Open. Of a LoRA for anything but a lone model nothing is taken.
        base: Knows its parameters.

    Raises:
        SourceError: A tensor is damaged, is there twice, or is missing although the settings name its module.
    """
    if not base.is_model:
        _refuse(file)
        return file, {}
    listed = _listed(file)
    config = None
    if file.config is not None:
        config = {key: value for key, value in file.config.items() if key != SETTING}
        refuse_config(file.reference, config)
    component = base.components[TRANSFORMERS_COMPONENT]
    found: dict[str, SavedTensor] = {}
    extra = [key for key in file.tensors.keys if key.startswith(_WRAPPER) and spelled(key) is None]
    for key in extra:
        written = _INNER.sub("", key.removeprefix(_WRAPPER))
        name = _in_base(written, file, component)
        if name in found:
            raise SourceError(f"{file.reference}: {key} is there under another name as well")
        found[name] = replace(_sound(file, key), module=_module(name, written, listed))
    if listed and not found:
        raise SourceError(
            f"{file.reference} names {SETTING}: {some(listed)}, and has no tensor of them",
            hint="save the adapter again with PEFT's save_pretrained",
        )
    left = {key: stored for key, stored in file.tensors.stored.items() if key not in set(extra)}
    return replace(file, tensors=replace(file.tensors, stored=left), config=config), found


def _refuse(file: LoraFile) -> None:
    if found := [key for key in file.tensors.keys if f".{SETTING}." in key]:
        raise SourceError(
            f"{file.reference} holds fully trained modules ({SETTING}: {some(found)}): they are carried for models of "
            "transformers alone",
            hint="use a plain LoRA",
        )


def _listed(file: LoraFile) -> Sequence[str]:
    listed = (file.config or {}).get(SETTING) or ()
    if not isinstance(listed, list | tuple) or not all(isinstance(each, str) and each for each in listed):
        raise SourceError(f"{file.reference}: {SETTING} should be a list of names")
    return listed


def _in_base(written: str, file: LoraFile, component: Component) -> str:
    """What the base calls a parameter; as it is written where it has none of such a name."""
    canonical = {live: module for module, live in component.live.items()}
    for name in (written, file.shift(written) if file.shift else written):
        module, _, parameter = name.rpartition(".")
        known = f"{canonical.get(module, module)}.{parameter}"
        if component.parameter_shape(known) is not None:
            return known
    return written


def _module(name: str, written: str, listed: Sequence[str]) -> str | None:
    """The outermost module that the settings name, by the end of its name, as PEFT looks for it."""
    parts, own = name.split("."), written.split(".")
    for count in range(1, len(own)):
        if any(".".join(own[:count]).endswith(each) for each in listed):
            return ".".join(parts[: len(parts) - len(own) + count])
    return None


def _sound(file: LoraFile, key: str) -> SavedTensor:
    if file.tensors.dtype(key) not in ITEM_SIZES:
        raise SourceError(
            f"{file.reference}: {key} holds {file.tensors.dtype(key)}, expected {', '.join(ITEM_SIZES)}",
            hint="save it in one of these number formats",
        )
    tensor = SavedTensor(file.tensors.tensor(key))
    if not tensor.is_finite:
        raise SourceError(
            f"{file.reference}: {key} holds NaN or infinite values",
            hint="the training diverged; use another checkpoint",
        )
    return tensor
