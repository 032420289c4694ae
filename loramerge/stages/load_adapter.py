"""One LoRA by itself, read in whatever format it has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.fit import fit
from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.formats.reading import read_lora
from loramerge.formats.told_family import ToldFamily
from loramerge.sources import parse
from loramerge.stages.resolve import chosen_files

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.bases.base import Base


def load_adapter(
    reference: str | Path, base: Base | None = None, *, revision: str | None = None, folder: Path | None = None
) -> Adapter:
    """Read a LoRA in any format.

    Args:
        reference: `hf://owner/name[/file]`, a file or a folder.
        base: What it was trained on; it is fitted to it. Without one the family is guessed from the LoRA itself.
        revision: Of a Hub repository.
        folder: Where a relative path starts; the current one by default.

    Raises:
        SourceError: It can't be had or read.
        MismatchError: It does not fit the base, no family is recognised, or it is a DoRA.
    """
    found = read_adapter(reference, base, revision=revision, folder=folder)
    if any(pair.needs_weight for *_, pair in found):
        raise MismatchError(
            f"{reference} is a DoRA: what it adds depends on the base's weights",
            hint="merge it by a recipe, with `dora: true` at the LoRA",
        )
    return found


def read_adapter(
    reference: str | Path, base: Base | None = None, *, revision: str | None = None, folder: Path | None = None
) -> Adapter:
    """The same; of a DoRA what its file has, which is not what it adds.

    Raises:
        SourceError: It can't be had or read.
        MismatchError: It does not fit the base, or no family is recognised.
    """
    located = parse(str(reference), folder=folder or Path.cwd(), revision=revision).locate()
    names, _ = chosen_files(located, None if base is None else lambda: base)
    place = located.fetch(names)
    known = base or architecture(ToldFamily.of(located.reference, place, names).certain())
    _, adapter = read_lora(located.reference, place, names, known)
    return fit(located.reference, adapter, known, skip=False)[0].loaded()
