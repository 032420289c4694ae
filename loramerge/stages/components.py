"""Stage: the components that outputs have in the place of the base's own; each is a source like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loramerge import sources
from loramerge.bases import model_index
from loramerge.bases.base import MODEL_CONFIG
from loramerge.bases.model_index import ModelIndex
from loramerge.bases.pipeline_files import component_files
from loramerge.bases.replacement import (
    Replacement,
    check_droppable,
    check_replaceable,
    replacement,
    replacing_entry,
)
from loramerge.errors import MismatchError
from loramerge.files.reading import read_json
from loramerge.lock.pin import component_pins
from loramerge.sources.inputs import InputFiles

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from loramerge.formats.output import Output
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe
    from loramerge.sources import Located, Source


@dataclass(frozen=True)
class ResolvedComponent:
    """A component that an output has in the place of the base's own.

    Attributes:
        output: Folder of the output.
        name: Of the component.
        source: As the recipe gives it.
        located: Where it is.
        place: The folder there, with a '/' at its end; empty where it is all of the source.
        names: Its files there.
        entry: Library and class, as model_index.json has them.
    """

    output: str
    name: str
    source: str
    located: Located
    place: str
    names: tuple[str, ...]
    entry: tuple[str, str]

    @property
    def key(self) -> str:
        """What locks and papers call it."""
        return f"{self.output}/{self.name}"


@dataclass(frozen=True)
class LoadedComponent:
    """The same, with its files.

    Attributes:
        resolved: Where it is.
        replacement: What outputs write.
        inputs: Its files as they are read.
    """

    resolved: ResolvedComponent
    replacement: Replacement
    inputs: InputFiles

    def known(self) -> ResolvedComponent:
        """Where it is, whose files need not be read once more for their digests.

        Raises:
            SourceError: One was changed since, or is not the one that was promised.
        """
        digests = self.inputs.digests()
        self.resolved.located.prove(digests)
        return replace(self.resolved, located=self.resolved.located.knowing(digests))


def unneeded(recipe: Recipe) -> frozenset[str]:
    """Components of the base whose weights nothing needs: every output with weights has others in their place."""
    if recipe.preview is not None or any(lora.needs_weights for lora in recipe.loras):
        return frozenset()
    others = [frozenset(output.other_components) for output in recipe.outputs if output.needs_weights]
    return frozenset.intersection(*others) if others else frozenset()


def resolve_components(recipe: Recipe, base: Located, lock: Lock | None) -> tuple[ResolvedComponent, ...]:
    """Ask where the components are, and look by configs alone whether they fit the base.

    Args:
        recipe: Names them.
        base: Where the base is.
        lock: What they have to be.

    Raises:
        SourceError: One can't be had, is none, or is not what the lock says.
        MismatchError: The base is no folder of a pipeline, one does not fit it, or it needs what is to be left out.
    """
    if not any(output.other_components for output in recipe.outputs):
        return ()
    index = _index(recipe, base)
    pins = component_pins(recipe, lock) if lock else {}
    found = []
    for output in recipe.outputs:
        for name, source in _others(output):
            where = f"outputs.{output.folder}.components.{name}"
            if source is None:
                dropped = frozenset(each for each, other in output.other_components.items() if other is None)
                check_droppable(index, name, dropped, where)
                continue
            check_replaceable(index, name, base.files, where)
            pin = pins.get(f"{output.folder}/{name}")
            given = sources.parse(source, folder=recipe.folder)
            located = (given.at(pin.locked.commit) if pin and pin.locked.commit else given).locate()
            place, names = component_files(located, name, recipe.base.variant)
            located = pin.hold(located, names) if pin else located
            configs = (
                _settings_at(base, f"{name}/{MODEL_CONFIG}"),
                _settings_at(located, f"{place}{MODEL_CONFIG}"),
            )
            entry = replacing_entry(index, name, configs, sources.shown(source), where)
            found.append(ResolvedComponent(output.folder, name, source, located, place, names, entry))
    return tuple(found)


def component_sources(recipe: Recipe) -> dict[str, Source]:
    """Output's folder and component, such as `model/vae` → its source."""
    return {key: sources.parse(each, folder=recipe.folder) for key, each in recipe.components.items()}


def check_local_components(recipe: Recipe, lock: Lock) -> None:
    """Compare the sizes of components on this machine with a lock.

    Raises:
        SourceError: One is missing, or has another size.
    """
    given = component_sources(recipe)
    for key, pin in component_pins(recipe, lock).items():
        if given[key].local is not None:
            names = list(pin.locked.files)
            pin.check_sizes(given[key].locate().fetch(names), names)


def load_components(
    resolved: tuple[ResolvedComponent, ...], pool: Executor, *, in_passing: bool
) -> tuple[LoadedComponent, ...]:
    """Fetch the components.

    Args:
        resolved: Where they are.
        pool: Takes the digests of their files.
        in_passing: Weights are hashed when outputs are made of them.

    Raises:
        SourceError: A file can't be had.
    """
    return tuple(_fetched(each, pool, in_passing=in_passing) for each in resolved)


def by_output(loaded: tuple[LoadedComponent, ...]) -> Mapping[str, Mapping[str, Replacement]]:
    """Folder of an output → component → what takes its place there."""
    found: dict[str, dict[str, Replacement]] = {}
    for each in loaded:
        found.setdefault(each.resolved.output, {})[each.resolved.name] = each.replacement
    return found


def _fetched(each: ResolvedComponent, pool: Executor, *, in_passing: bool) -> LoadedComponent:
    folder = each.located.bring(each.names) if in_passing else each.located.fetch(each.names)
    inputs = InputFiles(pool, each.located.reference, folder, each.names, in_passing=in_passing)
    shown = sources.shown(each.source)
    return LoadedComponent(each, replacement(shown, folder, each.place, each.names, each.entry), inputs)


def _index(recipe: Recipe, base: Located) -> ModelIndex:
    if model_index.FILE not in base.files:
        where = next(f"outputs.{output.folder}" for output in recipe.outputs if output.other_components)
        raise MismatchError(
            f"{where}.components: {base.reference} is no folder of a pipeline of diffusers, in which alone a component "
            "has a folder that another can take the place of",
            hint="leave `components` out, or choose the base's folder",
        )
    return ModelIndex.parse(_settings_at(base, model_index.FILE), base.reference)


def _settings_at(located: Located, name: str) -> dict[str, object]:
    return read_json(located.fetch([name]) / name, f"{located.reference}/{name}")


def _others(output: Output) -> Iterator[tuple[str, str | None]]:
    yield from sorted(output.other_components.items())
