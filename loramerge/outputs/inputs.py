"""Every LoRA of the recipe by itself, as PEFT reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.fields import Dtype, Name
from loramerge.formats import dora
from loramerge.formats.output import MergeResult, Output
from loramerge.formats.peft import WEIGHTS, folder_of, loading, write_folder
from loramerge.formats.stacked_pairs import notes_of

if TYPE_CHECKING:
    from loramerge.formats.loading import Address, Facts, Snippet


class InputsOutput(Output):
    """Every LoRA of the recipe as a PEFT adapter, one folder each.

    The UNet's part lies in the LoRA's own folder, as `subfolder=` finds it; text encoders lie in folders below.
    """

    default_folder: ClassVar[str] = "inputs"
    copies_inputs: ClassVar[bool] = True
    holds_saved: ClassVar[bool] = True
    holds_rescaled: ClassVar[bool] = True

    kind: Literal["inputs"] = Field(description="Every LoRA of the recipe as a PEFT adapter, one folder each.")
    name: Name | None = Field(None, description="Folder in the artifact; `inputs` if absent.")
    dtype: Dtype = "float32"

    @property
    def number_format(self) -> str | None:
        """The recipe's."""
        return self.dtype

    def top_names(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """A folder for each LoRA."""
        del recipe, parts
        return tuple(loras)

    def write(self, result: MergeResult, folder: Path) -> Mapping[str, str | None]:
        """Write every LoRA that went in."""
        digests = {}
        for lora, given in result.loras.items():
            adapter = dora.throughout(given, result.weights)
            result.notes.extend(f"output {self.folder}, {lora}: {note}" for note in notes_of(adapter, result.base))
            for component in adapter.components:
                part = _folder(lora, component)
                digests[f"{part}/{WEIGHTS}"] = write_folder(
                    adapter, component, result.base, self.dtype, folder / part, result.labels.origin(lora)
                )
        return digests

    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """One for each LoRA."""
        for lora, components in facts.loras.items():
            folders = {component: _folder(lora, component) for component in components}
            yield loading(f"PEFT: `{self.folder}`, {lora} alone", place, facts, folders)


def _folder(lora: str, component: str) -> str:
    return lora if component == "unet" else "/".join(filter(None, (lora, folder_of(component))))
