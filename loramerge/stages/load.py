"""Stage: fetch what a recipe names and read it into canonical form."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.bases.base import Base, read_base
from loramerge.bases.fit import fit
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.bases.published import architecture
from loramerge.formats.reading import read_lora
from loramerge.merging.block_weights import weighing
from loramerge.merging.checks import check_rank
from loramerge.merging.parameters import without_zeros
from loramerge.messages import counted
from loramerge.numerics.threads import cores
from loramerge.progress import Progress, Silent
from loramerge.recipe.weights import plain
from loramerge.sources.inputs import InputFiles
from loramerge.stages.bind import BaseWeights, bind
from loramerge.stages.components import load_components
from loramerge.stages.extract import extracted
from loramerge.stages.load_notes import notes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loramerge.adapter import Adapter, LowRank
    from loramerge.extraction.extraction import Extraction
    from loramerge.merging.block_weights import Weighing
    from loramerge.stages.components import LoadedComponent
    from loramerge.stages.resolve import Resolved, ResolvedLora

EXTRACTED = "extracted"
"""The format of a LoRA that comes from no file of its own."""


@dataclass(frozen=True)
class LoadedLora:
    """One LoRA of the recipe, fitted to the base.

    Attributes:
        name: The recipe's name for it.
        reference: Its source.
        revision: The commit, where the source has commits.
        inputs: What is read.
        format: The format that the files turned out to have.
        weight: A number, or diffusers' mapping by component and block.
        adapter: Its pairs.
        extraction: How it was made of the model that is its source; None where that is a LoRA.
    """

    name: str
    reference: str
    revision: str | None
    inputs: InputFiles
    format: str
    weight: float | dict[str, Any]
    adapter: Adapter
    extraction: Extraction | None = None


@dataclass(frozen=True)
class Loaded:
    """All inputs of a merge.

    Attributes:
        base: Without its weights.
        base_files: Those of its files that were fetched; with weights only if an output needs them.
        base_inputs: The same files, as they are read.
        config_inputs: What `base.config` is, where the recipe has one with a source.
        components: What outputs have in the place of the base's own components.
        revision: The base's commit, where its source has commits.
        loras: In the recipe's order.
        notes: What was left out, in words.
        weights: Of the base's layers, where its files have them.
    """

    base: Base
    base_files: PipelineFiles
    base_inputs: InputFiles
    revision: str | None
    loras: tuple[LoadedLora, ...]
    notes: tuple[str, ...]
    weights: BaseWeights
    config_inputs: InputFiles | None = None
    components: tuple[LoadedComponent, ...] = ()


def load(
    resolved: Resolved,
    *,
    keep: Callable[[LowRank], LowRank] = lambda pair: pair,
    in_passing: bool = False,
    progress: Progress | None = None,
) -> Loaded:
    """Fetch and read the base's configs (its weights, where an output needs them) and every LoRA.

    Args:
        resolved: Where they are.
        keep: Puts a pair that is extracted from a model where it is to wait, and gives it back from there.
        in_passing: Outputs are made of the base's weights, which are hashed when these are written; `known` then tells
            whether they are what was promised.
        progress: Told of every source, and of every layer from which a pair is extracted.

    Raises:
        SourceError: A file can't be had or read.
        MismatchError: A LoRA does not fit the base or has not the rank that the recipe promises.
    """
    progress = progress or Silent()
    progress.start("load", 1 + len(resolved.loras))
    names = resolved.base_names
    folder = resolved.base.bring(names) if in_passing else resolved.base.fetch(names)
    family, reference = resolved.family, resolved.base.reference
    base = architecture(family) if family else read_base(reference, folder, names, resolved.told())
    progress.advance()
    loras, notes = [], []
    pool = ThreadPoolExecutor(cores())
    weights = BaseWeights(base, folder, names)
    for entry in resolved.loras:
        place = entry.located.fetch(entry.names)
        inputs = InputFiles(pool, entry.located.reference, place, entry.names)
        if entry.lora.extract is None:
            lora, said = _load_lora(entry, place, inputs, weights)
        else:
            lora, said = _extract_lora(entry, inputs, weights, keep, progress)
        loras.append(lora)
        notes.extend(said)
        progress.advance()
    # Last, for a base is large, and a LoRA that can't be read should be said at once.
    base_inputs = InputFiles(pool, resolved.base.reference, folder, names, in_passing=in_passing)
    config_inputs = resolved.config.inputs(pool) if resolved.config else None
    components = load_components(resolved.components, pool, in_passing=in_passing)
    pool.shutdown(wait=False)  # the digests have time until somebody asks for them
    return Loaded(
        base=base,
        base_files=PipelineFiles(folder, names, resolved.variant),
        base_inputs=base_inputs,
        revision=resolved.base.revision,
        loras=tuple(loras),
        notes=tuple(notes),
        weights=weights,
        config_inputs=config_inputs,
        components=components,
    )


def known(resolved: Resolved, loaded: Loaded) -> Resolved:
    """The same sources, whose files need not be read once more for their digests.

    Raises:
        SourceError: A file was changed since, or is not the one that was promised.
    """
    digests = loaded.base_inputs.digests()
    resolved.base.prove(digests)
    return replace(
        resolved,
        base=resolved.base.knowing(digests),
        components=tuple(each.known() for each in loaded.components),
        loras=tuple(
            replace(entry, located=entry.located.knowing(lora.inputs.digests()))
            for entry, lora in zip(resolved.loras, loaded.loras, strict=True)
        ),
    )


def weighed(loaded: Loaded) -> dict[str, tuple[Adapter, Weighing]]:
    """Name → adapter and its weights, for every LoRA.

    Raises:
        MismatchError: A weight names what the base does not have.
    """
    return {lora.name: (lora.adapter, weighing(lora.name, lora.weight, loaded.base)) for lora in loaded.loras}


def _load_lora(
    entry: ResolvedLora, folder: Path, inputs: InputFiles, weights: BaseWeights
) -> tuple[LoadedLora, list[str]]:
    """A LoRA from its folder, and what is to be said of it."""
    lora, located, base = entry.lora, entry.located, weights.base
    found, adapter = read_lora(located.reference, folder, entry.names, base, lora.component)
    check_rank(lora.name, adapter, lora.rank)
    fitted, left_out = fit(lora.name, adapter, base, skip=lora.unmatched == "skip")
    fitted, zeros = without_zeros(fitted)
    loaded = LoadedLora(
        name=lora.name,
        reference=located.reference,
        revision=located.revision,
        inputs=inputs,
        format=found,
        weight=plain(lora.weight),
        adapter=bind(lora.name, fitted, weights, said=lora.dora),
    )
    said = f"LoRA {lora.name}: {counted(zeros, 'difference')} of norms, biases and the like are zero and left out"
    notes = filter(None, [entry.note, said if zeros else ""])
    return loaded, [*notes, *notes_of(loaded.name, located.reference, adapter, left_out, base)]


def _extract_lora(
    entry: ResolvedLora,
    inputs: InputFiles,
    base: BaseWeights,
    keep: Callable[[LowRank], LowRank],
    progress: Progress,
) -> tuple[LoadedLora, list[str]]:
    """A LoRA made of a model, and what is to be said of it."""
    lora, located = entry.lora, entry.located
    assert lora.extract is not None  # noqa: S101  whoever calls it has looked
    found = extracted(lora.extract, located, entry.names, base, keep, progress)
    loaded = LoadedLora(
        name=lora.name,
        reference=located.reference,
        revision=located.revision,
        inputs=inputs,
        format=EXTRACTED,
        weight=plain(lora.weight),
        adapter=found.adapter,
        extraction=found.facts,
    )
    return loaded, [f"LoRA {lora.name}: {each}" for each in found.facts.sentences()]
