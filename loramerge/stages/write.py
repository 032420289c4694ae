"""Stage: what an artifact is made for: every output of the recipe, and its pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.errors import SourceError
from loramerge.files.digest import sha256_of
from loramerge.files.writing import writing
from loramerge.formats import Labels
from loramerge.formats.embeddings import write_beside
from loramerge.formats.model_spec import prediction_said
from loramerge.formats.output import MergeResult
from loramerge.formats.trigger_words import tag_frequency, trigger_phrases
from loramerge.progress import Progress, Silent
from loramerge.provenance.licence import UNKNOWN
from loramerge.provenance.provenance import input_uri
from loramerge.stages.artifact_previews import draw, picture_of_merge
from loramerge.stages.components import by_output

if TYPE_CHECKING:
    from loramerge.formats.output import Output
    from loramerge.lock.model import LockedCard
    from loramerge.recipe import Recipe
    from loramerge.stages.combine import Combined
    from loramerge.stages.load import Loaded, LoadedLora


Cards = Mapping[str, "LockedCard | None"]
"""Name of a LoRA → what its source's model card says, where that has one."""


@dataclass(frozen=True)
class Written:
    """Outputs in their folders.

    Attributes:
        report: What there is to say of the merge, and of what was written.
        trigger_phrases: What to put into a prompt.
        digests: Name of a file → its SHA-256, taken while it was written.
    """

    report: Mapping[str, Any]
    trigger_phrases: tuple[str, ...]
    digests: Mapping[str, str]


def write(
    folder: Path,
    recipe: Recipe,
    loaded: Loaded,
    combined: Combined,
    report: Mapping[str, Any],
    *,
    cards: Cards,
    progress: Progress | None = None,
) -> Written:
    """Write every output of the recipe and its preview.

    Args:
        folder: Empty; whoever made it puts it in its place when all is written.
        recipe: Names the outputs.
        loaded: The inputs, and the base's files where an output needs them.
        combined: The merged LoRA, and the device on which previews are drawn as well.
        report: What there is to say of the merge.
        cards: What the model cards of the LoRAs say.
        progress: Told of every output.

    Raises:
        LoramergeError: Something can't be written or does not fit its dtype.
    """
    progress = progress or Silent()
    progress.start("write", len(recipe.outputs))
    labels = labels_of(recipe, loaded, cards, licence=report["license"])
    result = _result(loaded, combined, labels)
    digests: dict[str, Mapping[str, str]] = {}  # sha256 of large files
    beside: dict[str, Mapping[str, str | None]] = {}  # the same of files that lie beside what an output is
    for group in _groups(recipe.outputs):
        places = {output.folder: folder / output.folder for output in group}
        for place in places.values():
            with writing(place):
                place.mkdir(parents=True, exist_ok=True)
        written = group[0].write_several([(output, places[output.folder]) for output in group], result)
        for (name, place), found in zip(places.items(), written, strict=True):
            digests[name] = {file: digest or sha256_of(place / file) for file, digest in found.items()}
            progress.advance()
        for output in group:
            beside[output.folder] = _write_beside(output, result, places[output.folder])
    notes = [*result.notes, *draw(folder, recipe, loaded, combined, progress)]
    picture = picture_of_merge(folder)
    for output in recipe.outputs:
        output.accompany(result, folder / output.folder, digests[output.folder], picture)
    known = {
        f"{output}/{name}": digest
        for found in (digests, beside)
        for output, each in found.items()
        for name, digest in each.items()
        if digest is not None
    }
    loras = [
        {**data, "trigger_phrases": _phrases(lora, cards)}
        for data, lora in zip(report["loras"], loaded.loras, strict=True)
    ]
    return Written({**report, "loras": loras, "notes": [*report["notes"], *notes]}, labels.trigger_phrases, known)


def _groups(outputs: Sequence[Output]) -> Iterator[list[Output]]:
    """Outputs that are written together: the base is large, and those that need its weights read them once."""
    yield from ([output] for output in outputs if not output.needs_weights)
    if together := [output for output in outputs if output.needs_weights]:
        yield together


def write_output(
    output: Output, folder: Path, recipe: Recipe, loaded: Loaded, combined: Combined, *, cards: Cards
) -> tuple[str, ...]:
    """Write one output alone into a folder, which exists and is empty.

    Returns:
        What is to be said of it.

    Raises:
        LoramergeError: Something can't be written or does not fit its dtype.
    """
    result = _result(loaded, combined, labels_of(recipe, loaded, cards))
    output.write(result, folder)
    _write_beside(output, result, folder)
    return tuple(result.notes)


def _write_beside(output: Output, result: MergeResult, folder: Path) -> Mapping[str, str | None]:
    """Textual inversions of LoRAs, where the output has no room for them; digests by name below the folder."""
    if output.copies_inputs:
        return {
            f"{name}/{file}": digest
            for name, adapter in result.loras.items()
            for file, digest in write_beside(adapter.embeddings, folder / name).items()
        }
    return {} if output.holds_embeddings else write_beside(result.adapter.embeddings, folder)


def _result(loaded: Loaded, combined: Combined, labels: Labels) -> MergeResult:
    loras = {lora.name: lora.adapter for lora in loaded.loras}
    weights, replaced = loaded.weights.of, by_output(loaded.components)
    return MergeResult(combined.adapter, loaded.base, loaded.base_files, loras, labels, weights, replaced=replaced)


def labels_of(recipe: Recipe, loaded: Loaded, cards: Cards, *, licence: str = UNKNOWN) -> Labels:
    """What files of the merge say of themselves.

    Args:
        recipe: Names them.
        loaded: The inputs.
        cards: What the model cards of the LoRAs say.
        licence: Of the result, as the Hub names it.
    """
    phrases: dict[str, None] = {}
    tags: dict[str, dict[str, int]] = {}
    for lora in loaded.loras:
        phrases |= dict.fromkeys(_phrases(lora, cards))
        for name, counts in _tags(lora).items():
            known = tags.setdefault(name, {})
            known.update({tag: known.get(tag, 0) + count for tag, count in counts.items()})
    return Labels(
        name=recipe.name,
        description=recipe.description,
        recipe_sha256=hashlib.sha256(recipe.text.encode()).hexdigest(),
        inputs={lora.name: _made_of(lora, loaded) for lora in loaded.loras},
        trigger_phrases=tuple(phrases),
        prediction_types=tuple(filter(None, (prediction_said(lora.adapter.metadata) for lora in loaded.loras))),
        tag_frequency=tags,
        licence="" if licence == UNKNOWN else licence,
    )


def _made_of(lora: LoadedLora, loaded: Loaded) -> dict[str, str]:
    """Place → sha256 of the files that a LoRA is made of: also the base's, where it was extracted from a model."""
    found = [(lora.reference, lora.revision, lora.inputs)]
    if lora.extraction is not None:
        found.append((loaded.base.reference, loaded.revision, loaded.base_inputs))
    return {
        input_uri(reference, revision, file.name): file.sha256
        for reference, revision, inputs in found
        for file in inputs.files()
    }


def _phrases(lora: LoadedLora, cards: Cards) -> list[str]:
    """What to put into a prompt: as the file says it, and as the source's model card does."""
    card = cards[lora.name]
    return list(trigger_phrases(lora.adapter.metadata, (card.trigger_words or ()) if card else ()))


def _tags(lora: LoadedLora) -> dict[str, dict[str, int]]:
    try:
        return tag_frequency(lora.reference, lora.adapter.metadata)
    except SourceError:  # said when the LoRA was loaded
        return {}
