"""Stage: fetch what a recipe names and read it into canonical form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.base import Base, read_base
from loramerge.fit import fit
from loramerge.formats.reading import read_lora
from loramerge.progress import Progress, Silent
from loramerge.requirements import check_rank
from loramerge.sources import sha256_of

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.resolve import Resolved, ResolvedLora
    from loramerge.weights import Weight


@dataclass(frozen=True)
class InputFile:
    """A file that went into a merge, by its name within its source."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class LoadedLora:
    """One LoRA of the recipe, fitted to the base.

    Attributes:
        name: The recipe's name for it.
        reference: Its source.
        revision: The commit, where the source has commits.
        files: What was read.
        format: The format that the files turned out to have.
        weight: A number, or diffusers' mapping by component and block.
        adapter: Its pairs.
    """

    name: str
    reference: str
    revision: str | None
    files: tuple[InputFile, ...]
    format: str
    weight: float | dict[str, Any]
    adapter: Adapter


@dataclass(frozen=True)
class Loaded:
    """All inputs of a merge.

    Attributes:
        base: Without its weights.
        base_folder: Where the base's files lie; with weights only if an output needs them.
        loras: In the recipe's order.
        notes: What was left out, in words.
    """

    base: Base
    base_folder: Path
    loras: tuple[LoadedLora, ...]
    notes: tuple[str, ...]


def load(resolved: Resolved, *, progress: Progress | None = None) -> Loaded:
    """Fetch and read the base's configs (its weights, where an output needs them) and every LoRA.

    Raises:
        SourceError: A file can't be had or read.
        MismatchError: A LoRA does not fit the base or has not the rank that the recipe promises.
    """
    progress = progress or Silent()
    progress.start("load", 1 + len(resolved.loras))
    folder = resolved.base.fetch(resolved.base_files or resolved.base_configs)
    base = read_base(resolved.base.reference, folder)
    progress.advance()
    loras, notes = [], []
    for entry in resolved.loras:
        lora, said = _load_lora(entry, base)
        loras.append(lora)
        notes.extend(said)
        progress.advance()
    return Loaded(base, folder, tuple(loras), tuple(notes))


def plain_weight(weight: Weight) -> float | dict[str, Any]:
    """A recipe's weight as plain data: what it names, and nothing that it leaves to the default."""
    return float(weight) if isinstance(weight, int | float) else weight.model_dump(exclude_unset=True)


def _load_lora(entry: ResolvedLora, base: Base) -> tuple[LoadedLora, list[str]]:
    lora, located = entry.lora, entry.located
    folder = located.fetch(entry.names)
    found, adapter = read_lora(located.reference, folder, entry.names, base)
    check_rank(lora.name, adapter, lora.rank)
    fitted, left_out = fit(lora.name, adapter, base, skip=lora.unmatched == "skip")
    notes = []
    if left_out:
        shown = "; ".join(map(str, left_out[:3])) + (f"; and {len(left_out) - 3} more" if len(left_out) > 3 else "")  # noqa: PLR2004
        notes.append(f"LoRA {lora.name}: {len(left_out)} of {len(adapter)} modules skipped: {shown}")
    files = tuple(
        InputFile(name, (folder / name).stat().st_size, sha256_of(folder / name)) for name in sorted(entry.names)
    )
    loaded = LoadedLora(
        name=lora.name,
        reference=located.reference,
        revision=located.revision,
        files=files,
        format=found,
        weight=plain_weight(lora.weight),
        adapter=fitted,
    )
    return loaded, notes
