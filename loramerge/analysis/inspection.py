"""Finding out what a LoRA is, with its base or without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from loramerge.analysis.inspected import InspectedFile, InspectedModule, Inspection
from loramerge.analysis.overlap import overlaps
from loramerge.analysis.twins import Twins, pairs_of, twins
from loramerge.bases.anatomy import Anatomy
from loramerge.bases.base import unknown_model
from loramerge.bases.blocks import block_of
from loramerge.bases.fit import fit
from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import title_of
from loramerge.files.digest import sha256_of
from loramerge.formats import embeddings
from loramerge.formats.lora_files import lora_files
from loramerge.formats.peft import CONFIG
from loramerge.formats.reading import read_lora
from loramerge.formats.told_family import ToldFamily, trained_on
from loramerge.numerics.norms import norm_of
from loramerge.progress import Progress, Silent
from loramerge.sources import parse
from loramerge.tensor_files.safetensors import opened

_ANY = "sdxl"
"""Whose names a LoRA is read by that is for nothing known; most of its modules then have no component."""

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.analysis.overlap import PairOverlap
    from loramerge.bases.base import Base


def inspect(
    reference: str, base: Base | None = None, *, revision: str | None = None, folder: Path | None = None
) -> Inspection:
    """Find out what a LoRA is.

    Args:
        reference: `hf://owner/name[/file]`, a file or a folder.
        base: What it should fit. Without one the family is told from the LoRA, and a misfit is no error.
        revision: Of a Hub repository.
        folder: Where a relative path starts; the current one by default.

    Raises:
        SourceError: It can't be had or read.
        MismatchError: It does not fit the base that was given.
    """
    return inspect_adapter(reference, base, revision=revision, folder=folder)[0]


def inspect_adapter(
    reference: str,
    base: Base | None = None,
    *,
    revision: str | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Inspection, Adapter]:
    """The same, and the LoRA itself; `progress` is told of files and modules."""
    progress = progress or Silent()
    source = parse(reference, folder=folder or Path.cwd(), revision=revision)
    if source.local is None:
        progress.start("load", 1)
    located = source.locate()
    names = lora_files(located.reference, located.files)
    place = located.fetch(names)
    progress.start("read", len(names))
    files = []
    for name in names:
        dtypes: Counter[str] = Counter()
        if name.endswith(".safetensors"):
            file = opened(place / name, reference)
            dtypes.update(map(file.dtype, file.keys))
        path = place / name
        files.append(InspectedFile(name, path.stat().st_size, sha256_of(path), dict(sorted(dtypes.items()))))
        progress.advance()
    told = ToldFamily.of(reference, place, names) if base is None else ToldFamily(reference, (base.family.name,), ())
    known = base or _read_by(told, names)
    found, adapter = read_lora(reference, place, names, known)
    modules = []
    progress.start("measure", len(adapter))
    for component, name, pair in adapter:
        rank, norm = pair.trained_rank, norm_of(pair)
        modules.append(InspectedModule(component, name, pair.kind, pair.shape, rank, pair.scale, norm))
        progress.advance()
    anatomy = known.anatomy(adapter.components) if base or told.families else Anatomy()
    carried = {name: tensor for _, name, tensor in adapter.each_saved()}
    carried |= {f"{embeddings.PREFIX}{name}": tensor for name, tensor in adapter.embeddings.items()}
    inspection = Inspection(
        reference=reference,
        revision=located.revision,
        format=found,
        family=told.family,
        candidates=told.strangers if told.family else (*map(title_of, told.families), *told.strangers),
        trained_on=trained_on(reference, place, names),
        files=tuple(files),
        modules=tuple(modules),
        saved={name: tensor.size for name, tensor in carried.items()},
        metadata=dict(sorted(adapter.metadata.items())),
        misfit=_misfit(reference, adapter, known, strict=base is not None) if told.family else "",
        anatomy=anatomy.with_others(block_of(component, name) for component, name, _ in adapter),
    )
    return inspection, adapter


def overlaps_of(loras: Sequence[tuple[Inspection, Adapter]], *, progress: Progress | None = None) -> list[PairOverlap]:
    """How much LoRAs have to do with each other, at weight 1; those of different families have nothing to compare.

    Args:
        loras: As `inspect_adapter` returns them.
        progress: Told of every module.

    Returns:
        Every pair, by what `labels` calls them.
    """
    names = labels([inspection.reference for inspection, _ in loras])
    families = {name: inspection.family for name, (inspection, _) in zip(names, loras, strict=True)}
    adapters = dict(zip(names, (adapter for _, adapter in loras), strict=True))
    same = pairs_of(twins_of(loras))
    found = overlaps(
        {name: (adapter, lambda *_: 1.0) for name, adapter in adapters.items()}, same=same, progress=progress
    )
    compared = [pair for pair in found if len({families[name] for name in pair.names} - {None}) < 2]  # noqa: PLR2004  not two
    anatomies = {name: inspection.anatomy for name, (inspection, _) in zip(names, loras, strict=True)}

    def anatomy_of(pair: PairOverlap) -> Anatomy:
        # That of the base, where one of both tells it.
        known, other = sorted(pair.names, key=lambda name: families[name] is None)
        return anatomies[known].with_others(anatomies[other].blocks)

    return [replace(pair, anatomy=anatomy_of(pair)) for pair in compared]


def twins_of(loras: Sequence[tuple[Inspection, Adapter]]) -> list[Twins]:
    """LoRAs that are the same, by what `labels` calls them."""
    names = labels([inspection.reference for inspection, _ in loras])
    return twins(
        {
            name: (adapter, [file.sha256 for file in inspection.files])
            for name, (inspection, adapter) in zip(names, loras, strict=True)
        }
    )


def labels(references: Sequence[str]) -> list[str]:
    """A short name for each: the file's, or all of the reference where two files are called the same."""
    short = [PurePosixPath(reference.replace("\\", "/")).name.removesuffix(".safetensors") for reference in references]
    chosen = [name if name and short.count(name) == 1 else ref for name, ref in zip(short, references, strict=True)]
    return [
        f"{name} ({chosen[: place + 1].count(name)})" if chosen.count(name) > 1 else name
        for place, name in enumerate(chosen)
    ]


def _read_by(told: ToldFamily, names: Sequence[str]) -> Base:
    """Whose names a LoRA is read by: of an unknown model's, PEFT's adapter may hold more than pairs."""
    if told.families:
        return architecture(told.families[0])
    of_peft = any(PurePosixPath(name).name == CONFIG for name in names)
    return unknown_model() if of_peft and told.strangers else architecture(_ANY)


def _misfit(reference: str, adapter: Adapter, base: Base, *, strict: bool) -> str:
    try:
        fit(reference, adapter, base, skip=False)
    except MismatchError as error:
        if strict:
            raise
        return error.message
    return ""
