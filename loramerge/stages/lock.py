"""Stage: what every source of a recipe is at this moment, down to the bytes of each file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.files.file_view import FileBytes
from loramerge.files.kept_digests import reading_anew
from loramerge.files.tensor_header import read_header
from loramerge.lock.model import Lock, LockedCard, LockedFile, LockedSource, LockedSources
from loramerge.progress import Progress, Silent
from loramerge.sources import shown
from loramerge.sources.source import shown_file
from loramerge.stages.resolve import resolve
from loramerge.stages.with_base import with_base

if TYPE_CHECKING:
    from loramerge.hub.listing import CardFacts
    from loramerge.recipe import Recipe
    from loramerge.sources import Located
    from loramerge.stages.resolve import Resolved


def lock(
    recipe: Recipe,
    resolved: Resolved | None = None,
    *,
    like: Lock | None = None,
    verify_inputs: bool = False,
    progress: Progress | None = None,
) -> Lock:
    """Resolve every source to its commit, and every file that a run would use to its size and SHA-256.

    Large files of a Hub are not downloaded: its listing tells what they are.

    Args:
        recipe: Names the sources.
        resolved: What they are; asked anew if absent.
        like: A lock that the new one is to be compared with, which may be one of an earlier version.
        verify_inputs: Hash every file anew, also one that did not change since an earlier run did.
        progress: Told of every source.

    Raises:
        SourceError: A source is missing, refused, unreachable, or holds no base or LoRA.
    """
    with reading_anew(verify_inputs):
        progress = progress or Silent()
        recipe = with_base(recipe, progress=progress)
        resolved = resolved or resolve(recipe, like=like, progress=progress)
        progress.start("lock", 1 + len(resolved.loras))
        base = (
            None
            if resolved.family
            else _locked(recipe.base.source, recipe.base.revision, resolved.base, resolved.base_names)
        )
        told = None
        if config := resolved.config:
            told = _locked(recipe.base.config, None, config.located, config.names)
        components = {each.key: _locked(each.source, None, each.located, each.names) for each in resolved.components}
        progress.advance()
        loras = {}
        for entry in sorted(resolved.loras, key=lambda entry: entry.lora.name):
            loras[entry.lora.name] = _locked(entry.lora.source, entry.lora.revision, entry.located, entry.names)
            progress.advance()
        family = resolved.family if recipe.given_base is None else None
        known = LockedSources(base=base, family=family, config=told, components=components or None, loras=loras)
        return Lock(version=1, recipe=recipe.name, sources=known)


def look_at(resolved: Resolved) -> None:
    """Refuse what no run would take, without reading weights that outputs are made of: a run hashes them in passing.

    Raises:
        SourceError: A file can't be had, or is called safetensors and none.
    """
    _check_headers(resolved.base, resolved.base_names)
    if resolved.config is not None:
        resolved.config.located.digests(resolved.config.names)
    for component in resolved.components:
        _check_headers(component.located, component.names)
    for lora in resolved.loras:
        lora.located.digests(lora.names)


def _check_headers(located: Located, names: Iterable[str]) -> None:
    unlisted = [name for name in names if name not in located.listed]
    folder = located.bring(unlisted) if unlisted else Path()
    for name in unlisted:
        if name.endswith(".safetensors"):
            read_header(FileBytes.at(folder / name, shown_file(located.reference, name)))


def cards_of(resolved: Resolved) -> Mapping[str, LockedCard | None]:
    """What the model cards of the LoRAs say, by name, as a lock has it."""
    return {entry.lora.name: _card(entry.located.card) for entry in resolved.loras}


def _locked(source: str | None, revision: str | None, located: Located, names: Iterable[str]) -> LockedSource:
    return LockedSource(
        source=shown(source or ""),
        revision=revision,
        commit=located.revision,
        licence=located.licence,
        card=_card(located.card),
        files={
            name: LockedFile(size=digest.size, sha256=digest.sha256) for name, digest in located.digests(names).items()
        },
    )


def _card(said: CardFacts) -> LockedCard | None:
    found = LockedCard(trigger_words=said.trigger_words or None, tags=said.tags or None, base_model=said.base_model)
    return None if found == LockedCard() else found
