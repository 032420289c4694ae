"""Stage: find out what every source of a recipe is at this moment, and which of its files are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge import sources
from loramerge.bases.base import SCHEDULER, single_file
from loramerge.bases.pipeline_files import pipeline_files, weight_files
from loramerge.bases.published import architecture
from loramerge.formats.lora_files import SeveralLorasError, lora_files, only_fitting
from loramerge.lock.pin import Pin, config_pin, pins
from loramerge.messages import some
from loramerge.previews.checks import check_kind
from loramerge.progress import Progress, Silent
from loramerge.provenance.licence import BASE
from loramerge.sources import Located
from loramerge.stages.base import base_config, check_kind_of_base, configs_like, located_base, no_files, told
from loramerge.stages.components import check_local_components, component_sources, resolve_components, unneeded

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.lock.model import Lock, LockedSource
    from loramerge.recipe import Lora, Recipe
    from loramerge.sources import Source
    from loramerge.stages.base import BaseConfig
    from loramerge.stages.components import ResolvedComponent

_MOST_ASKED = 24
"""LoRAs of a repository whose headers are asked for: each is a request or two."""


@dataclass(frozen=True)
class ResolvedLora:
    """A LoRA of the recipe and the files that make it up.

    Attributes:
        lora: As the recipe has it.
        located: Where it is.
        names: Its files there.
        note: How they were chosen, where that has to be said.
    """

    lora: Lora
    located: Located
    names: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Resolved:
    """A recipe whose sources are known.

    Attributes:
        base: Where the base is.
        base_configs: Its files that say what it is.
        base_files: All of its files that a fused pipeline needs, or those with weights from which a LoRA is extracted;
            empty where neither is wanted.
        variant: Of the base's weight files.
        loras: In the recipe's order.
        family: Of a base that the recipe names by that alone; it has no files.
        config: What says what the base's one file is, where the recipe names it.
        told: What that is.
        components: What outputs have in the place of the base's own components.
    """

    base: Located
    base_configs: tuple[str, ...]
    base_files: tuple[str, ...]
    variant: str | None
    loras: tuple[ResolvedLora, ...]
    family: str | None = None
    config: BaseConfig | None = None
    told: Callable[[], Base | None] = lambda: None
    components: tuple[ResolvedComponent, ...] = ()

    @property
    def base_names(self) -> tuple[str, ...]:
        """Files of the base that a run uses."""
        return self.base_files or self.base_configs

    @property
    def licences(self) -> dict[str, str | None]:
        """Name of a LoRA, `BASE`, or a component such as `model/vae` → its licence, None where its source has none."""
        components = {each.key: each.located.licence for each in self.components}
        loras = {entry.lora.name: entry.located.licence for entry in self.loras}
        return {BASE: self.base.licence, **loras, **components}


def resolve(
    recipe: Recipe, lock: Lock | None = None, *, like: Lock | None = None, progress: Progress | None = None
) -> Resolved:
    """Ask every source what it holds. Nothing is fetched but listings, and of a base its configs where they decide.

    Args:
        recipe: Names the sources.
        lock: What they have to be: sources with commits are asked at the locked one. What a listing does not prove
            is compared when it is fetched.
        like: What is to be compared with the answer. One of an earlier version lists fewer configs of the base, and
            nothing moved where only they are new.
        progress: Told of every source.

    Raises:
        SourceError: A source is missing, refused, unreachable, holds no base or LoRA, or is not what the lock says.
        MismatchError: The recipe wants pictures, which such a base does not draw from a prompt.
    """
    pin, lora_pins = pins(recipe, lock) if lock else (None, {})
    progress = progress or Silent()
    progress.start("resolve", 1 + len(recipe.loras))
    base, configs, files = _located(recipe, pin, pin.locked if pin else like.sources.base if like else None)
    config = base_config(recipe.base, recipe.folder, config_pin(recipe, lock) if lock else None)
    components = resolve_components(recipe, base, lock)
    progress.advance()

    @cache
    def meant() -> Base | None:
        return told(recipe.base, config)

    @cache
    def known() -> Base:
        if recipe.base.family:
            return architecture(recipe.base.family)
        return located_base(base, configs, meant)

    loras = []
    for lora in recipe.loras:
        source = sources.parse(lora.source, folder=recipe.folder, revision=lora.revision, sha256=lora.sha256)
        lora_pin = lora_pins.get(lora.name)
        located = _locate(source, lora_pin)
        names, said = _files_of(lora, located, known)
        note = f"LoRA {lora.name}: {said}" if said else ""
        loras.append(ResolvedLora(lora, lora_pin.hold(located, names) if lora_pin else located, names, note))
        progress.advance()
    return Resolved(
        base, configs, files, recipe.base.variant, tuple(loras), recipe.base.family, config, meant, components
    )


def _files_of(lora: Lora, located: Located, base: Callable[[], Base]) -> tuple[tuple[str, ...], str]:
    """The files of a LoRA, or of the model that it is extracted from, and what is to be said of the choice."""
    if lora.extract is not None:
        return weight_files(located, lora.extract.variant), ""
    return chosen_files(located, base)


def chosen_files(located: Located, base: Callable[[], Base] | None) -> tuple[tuple[str, ...], str]:
    """A LoRA's files, and what is to be said of the choice. Where there are several LoRAs, headers decide.

    Args:
        located: Where they are.
        base: What the LoRA is merged for; asked for only where there are several. None where nobody knows it.

    Raises:
        SeveralLorasError: None of several fits the base, or several do.
        SourceError: There is no LoRA.
    """
    try:
        return lora_files(located.reference, located.files), ""
    except SeveralLorasError as error:
        number = len(error.candidates)
        if base is None or (located.outline is not None and number > _MOST_ASKED):
            raise
        with located.outlines(name for names in error.candidates for name in names) as folder:
            chosen = only_fitting(located.reference, folder, error.candidates, base())
        if chosen is None:
            raise
        return chosen, f"of {number} LoRAs in {located.reference} only {some(chosen)} fits the base; it is used"


def local_sources(recipe: Recipe) -> list[Path]:
    """Files and folders of this machine that the recipe reads."""
    base = _source(recipe)
    loras = [
        sources.parse(lora.source, folder=recipe.folder, revision=lora.revision, sha256=lora.sha256)
        for lora in recipe.loras
    ]
    where = recipe.base.config_source
    config = sources.parse(where, folder=recipe.folder) if where else None
    every = (base, config, *component_sources(recipe).values(), *loras)
    return [source.local for source in every if source is not None and source.local is not None]


def check_local(recipe: Recipe, lock: Lock) -> None:
    """Compare the files of this machine with a lock: LoRAs and configs byte by byte, whole models by their size.

    Raises:
        SourceError: One is missing, or is another file than the lock says.
    """
    pin, lora_pins = pins(recipe, lock)
    source = _source(recipe)
    if pin is not None and source is not None and source.local is not None:
        base, configs, files = _located(recipe, pin, pin.locked)
        file = single_file(base)
        folder = base.fetch([] if file else configs)
        pin.check_sizes(folder, [file] if file else files)
    config = base_config(recipe.base, recipe.folder, config_pin(recipe, lock))
    if config is not None and config.located.revision is None:
        config.located.fetch(config.names)
    check_local_components(recipe, lock)
    for lora in recipe.loras:
        source = sources.parse(lora.source, folder=recipe.folder, revision=lora.revision, sha256=lora.sha256)
        if source.local is not None:
            pinned = lora_pins[lora.name]
            names = tuple(pinned.locked.files)  # which of several LoRAs there is meant, the lock knows
            if lora.extract is None:
                pinned.hold(source.locate(), names).fetch(names)
            else:
                pinned.check_sizes(source.locate().fetch(names), names)


def _located(
    recipe: Recipe, pin: Pin | None, earlier: LockedSource | None
) -> tuple[Located, tuple[str, ...], tuple[str, ...]]:
    """Where the base is, its configs, and all files that are needed of it if its weights are."""
    source = _source(recipe)
    if source is None:
        return Located(str(recipe.base), None, (), no_files), (), ()
    base = _locate(source, pin)
    configs = configs_like(base, earlier)
    weights_needed = recipe.preview is not None or any(output.needs_weights for output in recipe.outputs)
    check_kind_of_base(recipe, base)
    files = pipeline_files(base, recipe.base.variant, unneeded(recipe)) if weights_needed else ()
    if any(lora.needs_weights for lora in recipe.loras) and not files:
        files = weight_files(base, recipe.base.variant)
    if recipe.preview is not None:
        check_kind(base)  # now, for its weights may be large
    if pin is not None:
        listed = [name for name in (SCHEDULER,) if name in pin.locked.files]  # none is read without what its lock has
        base = pin.hold(base, files or (*configs, *listed), exact=bool(files))
    return base, configs, files


def _source(recipe: Recipe) -> Source | None:
    """The base's, where the recipe gives more than its family."""
    if recipe.base.source is None:
        return None
    given = recipe.base
    return sources.parse(recipe.base.source, folder=recipe.folder, revision=given.revision, sha256=given.sha256)


def _locate(source: Source, pin: Pin | None) -> Located:
    return (source.at(pin.locked.commit) if pin and pin.locked.commit else source).locate()
