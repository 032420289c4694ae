"""What the outputs of kind `adapter` have in common."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.fields import Dtype, Name, StrictModel

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base
    from loramerge.formats.lora_file import LoraFile

Components = dict[str, dict[str, "LowRank"]]
"""Pairs by component and module."""


@dataclass(frozen=True)
class Labels:
    """What a file says of itself besides its tensors.

    Attributes:
        name: The recipe's name.
        description: The recipe's description.
        recipe_sha256: Of the recipe's text.
        inputs: Name of every LoRA that went in → place of each of its files → sha256.
        trigger_phrases: Of the inputs, in their order, each once.
        tag_frequency: Of the inputs: kohya's training tags, data set → tag → count.
    """

    name: str
    description: str = ""
    recipe_sha256: str = ""
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trigger_phrases: tuple[str, ...] = ()
    tag_frequency: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def origin(self, *names: str) -> dict[str, str]:
        """Safetensors metadata that tell where a lone file comes from: the recipe and all inputs, or those named."""
        inputs = {name: dict(files) for name, files in self.inputs.items() if name in (names or self.inputs)}
        return {
            "loramerge.recipe": self.name,
            "loramerge.recipe_sha256": self.recipe_sha256,
            "loramerge.inputs": json.dumps(inputs, sort_keys=True, ensure_ascii=False),
        }


class AdapterOutput(StrictModel):
    """The merged LoRA in one file format."""

    default_folder: ClassVar[str]

    kind: Literal["adapter"]
    name: Name | None = Field(default=None, description="Its folder in the artifact; the format by default.")
    dtype: Dtype = "float32"

    @property
    def folder(self) -> str:
        """Name of the output's folder in the artifact."""
        return self.name or self.default_folder

    @staticmethod
    @abstractmethod
    def recognises(key: str) -> bool:
        """Whether the key of a tensor is spelled as this format does."""

    @staticmethod
    @abstractmethod
    def read(file: LoraFile, base: Base) -> Components:
        """Pairs by component and module, under canonical names.

        A module that the base does not have keeps the name it has in the file: the one who checks the adapter
        against the base names it.

        Raises:
            SourceError: Unknown keys, unpaired or damaged tensors, settings that are no plain LoRA.
        """

    @abstractmethod
    def write(self, adapter: Adapter, base: Base, labels: Labels, folder: Path) -> dict[str, str]:
        """Write the adapter's files into `folder`, which exists and is empty.

        Returns:
            SHA-256 of the weight files, by their '/'-separated names below `folder`.
        """
