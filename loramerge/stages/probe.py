"""Stage: what LoRAs are, before there is a recipe: their family and their format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import TITLES
from loramerge.formats.lora_files import lora_files
from loramerge.formats.reading import read_lora
from loramerge.formats.told_family import ToldFamily
from loramerge.progress import Progress, Silent
from loramerge.sources import parse

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
    told: ToldFamily


def probe(
    references: Sequence[str],
    base: Base | None = None,
    *,
    family: str | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Probed:
    """Read the headers of LoRAs.

    Args:
        references: `hf://owner/name[/file]`, files or folders.
        base: What they were trained on.
        family: The same by its family alone; what they tell themselves by default.
        folder: Where relative paths start; the current one by default.
        progress: Told of every LoRA.

    Raises:
        SourceError: One can't be had or read.
        MismatchError: They are of several families, or none tells which.
    """
    progress = progress or Silent()
    progress.start("load", len(references))
    loras = []
    for reference in references:
        loras.append(_read(reference, folder or Path.cwd()))
        progress.advance()
    known = base or architecture(family or _common([lora.told for lora in loras]))
    found = tuple(read_lora(lora.reference, lora.folder, lora.names, known)[0] for lora in loras)
    return Probed(known.family, found)


def _read(reference: str, folder: Path) -> _Lora:
    located = parse(reference, folder=folder).locate()
    names = lora_files(located.reference, located.files)
    place = located.fetch(names)
    return _Lora(located.reference, place, names, ToldFamily.of(located.reference, place, names))


def _common(told: Sequence[ToldFamily]) -> str:
    """The one family of those that tell theirs."""
    first: dict[str, str] = {}
    for each in told:
        if each.family is not None or each.strangers:
            first.setdefault(each.certain(), each.reference)
    if len(first) > 1:
        seen = " and ".join(f"{reference} is for {TITLES[family]}" for family, reference in first.items())
        raise MismatchError(f"{seen}: LoRAs of different models can't be merged", hint="choose LoRAs of one model")
    return next(iter(first), None) or told[0].certain()
