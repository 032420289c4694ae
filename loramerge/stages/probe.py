"""Stage: what LoRAs are, before there is a recipe: their family and their format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import title_of
from loramerge.formats.lora_files import lora_files
from loramerge.formats.reading import read_lora
from loramerge.formats.told_family import ToldFamily, trained_on
from loramerge.messages import any_of
from loramerge.recipe.init import source_from
from loramerge.sources import parse
from loramerge.stages.load import load_base

if TYPE_CHECKING:
    from loramerge.bases.base import Base

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Probed:
    """What LoRAs turned out to be.

    Attributes:
        family: As recipes call it: `sdxl`, `flux/schnell`; empty where there is a source.
        formats: One for each LoRA.
        source: Of the base: the one that was given, or that the LoRAs themselves name.
        base: What they were trained on.
    """

    family: str
    formats: tuple[str, ...]
    source: str | None
    base: Base

    def base_in(self, folder: Path) -> dict[str, str]:
        """`base:` of a recipe in a folder."""
        return {"source": source_from(self.source, folder)} if self.source else {"family": self.family}


@dataclass(frozen=True)
class _Lora:
    reference: str
    folder: Path
    names: tuple[str, ...]
    told: ToldFamily


def probe(
    references: Sequence[str], source: str | None = None, *, family: str | None = None, folder: Path | None = None
) -> Probed:
    """Read the headers of LoRAs.

    Args:
        references: `hf://owner/name[/file]`, files or folders.
        source: Of what they were trained on. Adapters of PEFT's whose family is not known may name it themselves.
        family: The same by its family alone; what they tell themselves by default.
        folder: Where relative paths start; the current one by default.

    Raises:
        SourceError: One can't be had or read.
        MismatchError: They are of several families, or none tells which.
    """
    loras = [_read(reference, folder or Path.cwd()) for reference in references]
    source = source or (None if family else _named(loras))
    name = "" if source else family or _common([lora.told for lora in loras])
    known = load_base(source, folder=folder) if source else architecture(name)
    found = tuple(read_lora(lora.reference, lora.folder, lora.names, known)[0] for lora in loras)
    return Probed(name, found, source, known)


def _named(loras: Sequence[_Lora]) -> str | None:
    """The one base that all LoRAs name, where their layers are those of no family: a folder here, or a repository."""
    names = {trained_on(lora.reference, lora.folder, lora.names) for lora in loras}
    if len(names) != 1 or any(lora.told.families for lora in loras):
        return None
    name = names.pop()
    if name and Path(name).is_dir():
        return name
    return f"hf://{name}" if _REPOSITORY.fullmatch(name) else None


def _read(reference: str, folder: Path) -> _Lora:
    located = parse(reference, folder=folder).locate()
    names = lora_files(located.reference, located.files)
    place = located.fetch(names)
    return _Lora(located.reference, place, names, ToldFamily.of(located.reference, place, names))


def _common(told: Sequence[ToldFamily]) -> str:
    """The one family that all can be of which tell anything."""
    telling = [each for each in told if each.families or each.strangers]
    if not telling:
        return told[0].certain()
    for each in telling:
        if each.strangers:
            each.certain()
    possible = [name for name in telling[0].families if all(name in each.families for each in telling)]
    if possible:
        return ToldFamily(telling[0].reference, tuple(possible), ()).certain()
    seen = " and ".join(f"{each.reference} is for {any_of([*map(title_of, each.families)])}" for each in telling)
    raise MismatchError(f"{seen}: LoRAs of different models can't be merged", hint="choose LoRAs of one model")
