"""A LoRA's file as it lies on disk, before anybody knows its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loramerge.formats.inner_model import Shift
    from loramerge.tensor_files.safetensors import TensorFile


@dataclass(frozen=True)
class LoraFile:
    """One open safetensors file and what lies beside it.

    Attributes:
        reference: What messages call it.
        tensors: The open file.
        config: The adapter_config.json in the same folder, if there is one.
        component: The component that the folder is named after, if it is.
        denoiser: Which of the base's denoisers it is for, where that is said.
        shift: How its names become those of the base, where they differ at their beginning.
        notes: What is to be said of how it was read.
        shares: Name of an expert's share of a parameter → the parameter's, as the file has it.
    """

    reference: str
    tensors: TensorFile
    config: Mapping[str, Any] | None = None
    component: str | None = None
    denoiser: str | None = None
    shift: Shift | None = None
    notes: tuple[str, ...] = ()
    shares: Mapping[str, str] = field(default_factory=dict)
