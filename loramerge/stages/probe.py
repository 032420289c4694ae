"""Stage: what LoRAs are, before there is a recipe: their family and their format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import TITLES, guess, told_by
from loramerge.formats.lora_files import lora_files
from loramerge.formats.reading import read_lora
from loramerge.formats.refused import refuse_keys
from loramerge.sources import parse
from loramerge.tensor_files.safetensors import opened

if TYPE_CHECKING:
    from loramerge.bases.base import Base


@dataclass(frozen=True)
class Probed:
    """What LoRAs turned out to be.

    Attributes:
        family: `sd15`, `sd2` or `sdxl`.
        formats: One for each LoRA.
    """

    family: str
    formats: tuple[str, ...]


@dataclass(frozen=True)
class _Lora:
    reference: str
    folder: Path
    names: tuple[str, ...]
    family: str | None


def probe(
    references: Sequence[str], base: Base | None = None, *, family: str | None = None, folder: Path | None = None
) -> Probed:
    """Read the headers of LoRAs.

    Args:
        references: `hf://owner/name[/file]`, files or folders.
        base: What they were trained on.
        family: The same by its family alone; what they tell themselves by default.
        folder: Where relative paths start; the current one by default.

    Raises:
        SourceError: One can't be had or read.
        MismatchError: They are of several families, or none tells which.
    """
    loras = [_read(reference, folder or Path.cwd()) for reference in references]
    known = base or architecture(family or _common([(lora.reference, lora.family) for lora in loras]))
    found = tuple(read_lora(lora.reference, lora.folder, lora.names, known)[0] for lora in loras)
    return Probed(known.family, found)


def _read(reference: str, folder: Path) -> _Lora:
    located = parse(reference, folder=folder).locate()
    names = lora_files(located.reference, located.files)
    place = located.fetch(names)
    shapes: list[tuple[str, tuple[int, ...]]] = []
    metadata: dict[str, str] = {}
    for name in names:
        if name.endswith(".safetensors"):
            file = opened(place / name, located.reference)
            refuse_keys(located.reference, file.keys)
            shapes += [(key, file.shape(key)) for key in file.keys]
            metadata |= file.metadata
    return _Lora(located.reference, place, names, guess(shapes) or told_by(metadata))


def _common(found: Sequence[tuple[str, str | None]]) -> str:
    """The one family of those that tell theirs."""
    first: dict[str, str] = {}
    for reference, family in found:
        if family is not None:
            first.setdefault(family, reference)
    if len(first) > 1:
        seen = " and ".join(f"{reference} is for {TITLES[family]}" for family, reference in first.items())
        raise MismatchError(f"{seen}: LoRAs of different models can't be merged", hint="choose LoRAs of one model")
    if not first:
        raise MismatchError(
            f"{found[0][0]} does not tell which model it was trained on",
            hint="say it with --base: a folder, hf://owner/name, or a family",
        )
    return next(iter(first))
