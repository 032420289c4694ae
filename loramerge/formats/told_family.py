"""Which family the files of a LoRA are for, by themselves, where no base is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loramerge.errors import MismatchError
from loramerge.families import TITLES, guess, told_by
from loramerge.families.strangers import candidates
from loramerge.formats.refused import refuse_keys
from loramerge.formats.spelling import spelled
from loramerge.messages import any_of
from loramerge.tensor_files.safetensors import opened


@dataclass(frozen=True)
class ToldFamily:
    """What the headers of a LoRA's files tell.

    Attributes:
        reference: The LoRA.
        family: `sd15`, `sd2` or `sdxl`; None where they do not tell it.
        strangers: Families that can't be merged yet whose modules have such names.
    """

    reference: str
    family: str | None
    strangers: tuple[str, ...]

    @classmethod
    def of(cls, reference: str, folder: Path, names: Sequence[str]) -> ToldFamily:
        """Read the headers.

        Args:
            reference: For messages.
            folder: Where the files lie.
            names: What `lora_files` chose.

        Raises:
            SourceError: One can't be read, or is no plain LoRA.
        """
        files = [opened(folder / name, reference) for name in names if name.endswith(".safetensors")]
        for file in files:
            refuse_keys(reference, file.keys)
        keys = [(file, key) for file in files for key in file.keys]
        metadata = {name: value for file in files for name, value in file.metadata.items()}
        modules = [found.written for _, key in keys if (found := spelled(key)) is not None]
        width = guess((key, file.shape(key)) for file, key in keys)
        strangers = () if width else candidates(modules)
        return cls(reference, width or (None if strangers else told_by(metadata)), strangers)

    def certain(self) -> str:
        """The family.

        Raises:
            MismatchError: The files do not tell it, or tell one that can't be merged.
        """
        if self.family is not None:
            return self.family
        if self.strangers:
            raise MismatchError(
                f"{self.reference} looks like a LoRA for {any_of(self.strangers)}; only LoRAs for "
                f"{any_of(tuple(TITLES.values()))} can be merged"
            )
        raise MismatchError(
            f"{self.reference} does not tell which model it was trained on",
            hint="say it with --base: a folder, hf://owner/name, or a family",
        )
