"""Stage: what LoRAs are, before it is known what they were trained on: their family and their format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import title_of
from loramerge.formats.reading import format_of, has_magnitudes
from loramerge.formats.told_family import ToldFamily, trained_on
from loramerge.messages import any_of
from loramerge.progress import Progress, Silent
from loramerge.recipe.parts import BaseSource
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
        doras: For each whether it is a DoRA.
        source: Of the base that the LoRAs themselves name, where it is of no family.
    """

    family: str
    formats: tuple[str, ...]
    doras: tuple[bool, ...]
    source: str | None = None


@dataclass(frozen=True)
class Headers:
    """What a LoRA's headers say.

    Attributes:
        told: Of its family.
        trained_on: The base that a PEFT adapter names: a folder or a repository; empty where nothing does.
    """

    told: ToldFamily
    trained_on: str

    @classmethod
    def at(cls, reference: str, folder: Path, names: Sequence[str]) -> Headers:
        """Read them.

        Args:
            reference: For messages.
            folder: Where the files lie; the tensors may have no numbers.
            names: The files.

        Raises:
            SourceError: One can't be read, or is no plain LoRA.
        """
        return cls(ToldFamily.of(reference, folder, names), trained_on(reference, folder, names))


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
    folder = folder or Path.cwd()
    formats, doras, loras = [], [], []
    for reference in references:
        located = parse(reference, folder=folder).locate()
        names, _ = chosen_files(located, known)
        lora = located.reference, located.fetch(names), names
        formats.append(format_of(*lora))
        doras.append(has_magnitudes(*lora))
        if known is None:
            loras.append(Headers.at(*lora))
        progress.advance()
    if known is not None:
        return Probed("" if base else family or "", tuple(formats), tuple(doras))
    told = told_base(loras, folder)
    return Probed(told.family or "", tuple(formats), tuple(doras), told.source)


def told_base(loras: Sequence[Headers], folder: Path) -> BaseSource:
    """What LoRAs were trained on: the one family and size that all can be of, or the base that they name.

    Args:
        loras: At least one.
        folder: Where a relative path that they name starts.

    Raises:
        MismatchError: They are of several families, or none tells which.
    """
    source = _named(loras, folder)
    if source is not None:
        return BaseSource(source=source)
    return BaseSource(family=_common([lora.told for lora in loras]))


def _named(loras: Sequence[Headers], folder: Path) -> str | None:
    """The one base that all LoRAs name, where their layers are those of no family: a folder here, or a repository.

    Raises:
        MismatchError: They name different ones.
    """
    if any(lora.told.families for lora in loras):
        return None
    names = {lora.trained_on: lora.told.reference for lora in loras}
    if len(names) > 1 and all(names):
        seen = " and ".join(f"{reference} was trained on {name}" for name, reference in names.items())
        raise MismatchError(
            seen,
            hint="if these are the same model, or one is meant, say which by --base, or as `base: source:` of a "
            "recipe; else choose LoRAs of one model",
        )
    if len(names) != 1:
        return None
    (name,) = names
    if name and (folder / name).is_dir():
        return name
    return f"hf://{name}" if _REPOSITORY.fullmatch(name) else None


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
