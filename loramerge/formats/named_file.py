"""What outputs have in common that are files called after the recipe, in the folders of programs that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from loramerge.formats import sidecars, single_file
from loramerge.formats.adapter_output import AdapterOutput

if TYPE_CHECKING:
    from loramerge.formats.loading import Facts
    from loramerge.formats.output import MergeResult


class NamedFileOutput(AdapterOutput):
    """One file, or one for each of several denoisers, with what programs show of it beside it."""

    sidecars: bool | None = Field(
        None,
        description="Also what programs show of the file, beside it: NAME.json for A1111 and SwarmUI, "
        "NAME.metadata.json for ComfyUI-Lora-Manager, and with `preview:` NAME.preview.png for all and ComfyUI.",
    )

    @property
    def picture_ending(self) -> str:
        """Of the preview picture, where files lie beside the LoRA's."""
        return sidecars.PICTURE if self.sidecars else ""

    def top_names(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """The file is called after the recipe."""
        del loras
        return single_file.top_names(recipe, parts)

    def beside(self, tops: Sequence[str], *, pictured: bool) -> tuple[str, ...]:
        """Where they are asked for."""
        return tuple(each for lora in tops if self.sidecars for each in sidecars.names(lora, pictured=pictured))

    def accompany(self, result: MergeResult, folder: Path, digests: Mapping[str, str], picture: Path | None) -> None:
        """Write them, where they are asked for."""
        for name, sha256 in digests.items() if self.sidecars else ():
            sidecars.write(folder / name, sha256, result.labels, result.base, picture)

    def files(self, facts: Facts) -> tuple[str, ...]:
        """Names of all files that a program's folder takes."""
        loras = single_file.files_of(facts)
        return (*loras, *self.beside(loras, pictured=facts.pictured))
