"""Stage: what LoRAs are, before there is a recipe: their family and their format."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import title_of
from loramerge.formats.reading import format_of
from loramerge.formats.told_family import ToldFamily, trained_on
from loramerge.messages import any_of
from loramerge.progress import Progress, Silent
from loramerge.sources import parse
from loramerge.stages.resolve import chosen_files

if TYPE_CHECKING:
    from loramerge.bases.base import Base

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Probed:
    """What LoRAs turned out to be.

    Attributes:
        family: As recipes call it: `sdxl`, `flux/schnell`; empty where a base was given, or there is a source.
        formats: One for each LoRA.
        source: Of the base that the LoRAs themselves name, where it is of no family.
    """

    family: str
    formats: tuple[str, ...]
    source: str | None = None


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
    known = (lambda: base or architecture(family or "")) if base or family else None
    loras = []
    for reference in references:
        loras.append(_read(reference, folder or Path.cwd(), known))
        progress.advance()
    source = None if base or family else _named(loras)
    name = "" if base or source else family or _common([lora.told for lora in loras])
    found = tuple(format_of(lora.reference, lora.folder, lora.names) for lora in loras)
    return Probed(name, found, source)


def _named(loras: Sequence[_Lora]) -> str | None:
    """The one base that all LoRAs name, where their layers are those of no family: a folder here, or a repository."""
    names = {trained_on(lora.reference, lora.folder, lora.names) for lora in loras}
    if len(names) != 1 or any(lora.told.families for lora in loras):
        return None
    name = names.pop()
    if name and Path(name).is_dir():
        return name
    return f"hf://{name}" if _REPOSITORY.fullmatch(name) else None


def _read(reference: str, folder: Path, base: Callable[[], Base] | None) -> _Lora:
    located = parse(reference, folder=folder).locate()
    names, _ = chosen_files(located, base)
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
