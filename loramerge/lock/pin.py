"""Holds the sources of a recipe to its lock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.files.file_view import FileBytes, digest_of
from loramerge.lock.model import LockedSource, command_for
from loramerge.sources import shown

if TYPE_CHECKING:
    from loramerge.files.digest import FileDigest
    from loramerge.lock.model import Lock
    from loramerge.recipe import BaseSource, Lora, Recipe
    from loramerge.sources import Located

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Pin:
    """What a lock says of one source.

    Attributes:
        where: `base`, or `loras.` and a name.
        locked: What the lock says.
        command: Writes the lock anew.
    """

    where: str
    locked: LockedSource
    command: str

    def hold(self, located: Located, names: Iterable[str], *, exact: bool = True) -> Located:
        """Compare a source with the lock, as far as it tells without handing files over.

        Args:
            located: The source.
            names: Files of it that are needed.
            exact: Whether all files of the lock are.

        Returns:
            The same, with a `fetch` that compares every other file with the lock, and a `prove` that does so later.

        Raises:
            SourceError: The source is at another commit, a file is not in the lock, missing, or another one.
        """
        wanted, files = dict.fromkeys(names), self.locked.files
        what = f"{self.where} ({shown(located.reference)})"
        wrong = []
        if located.revision != self.locked.commit:
            wrong.append(f"{what} is at {_commit(located.revision)}, the lock has {_commit(self.locked.commit)}")
        wrong += [f"{what} has {name}, which the lock does not have" for name in wanted if name not in files]
        wrong += [f"{what} lacks {name}, which the lock has" for name in files if exact and name not in wanted]
        wrong += [
            f"{what} lacks {name}, which the lock has" for name in wanted if name in files and name not in located.files
        ]
        wrong += self._changed(what, {name: located.listed[name] for name in wanted if name in located.listed})
        self._refuse(wrong, at_commit=located.revision is not None)

        def fetch(names: Iterable[str], /) -> Path:
            wanted = tuple(names)
            folder = located.fetch(wanted)
            unproven = {
                name: digest_of(folder / name, f"{what}: {name}") for name in wanted if name not in located.listed
            }
            self._refuse(self._changed(what, unproven), at_commit=located.revision is not None)
            return folder

        def unproven(names: Iterable[str], /) -> Path:
            wanted = tuple(names)
            folder = located.bring(wanted)
            self.check_sizes(folder, wanted)
            places = {name: FileBytes.at(folder / name, f"{what}: {name}") for name in wanted}
            prove({name: known for name, place in places.items() if (known := place.known_digest())})
            return folder

        def prove(found: Mapping[str, FileDigest]) -> None:
            located.prove(found)
            unlisted = {name: digest for name, digest in found.items() if name not in located.listed}
            self._refuse(self._changed(what, unlisted), at_commit=located.revision is not None)

        return replace(located, fetch=fetch, unproven=unproven, prove=prove)

    def check_sizes(self, folder: Path, names: Iterable[str]) -> None:
        """Compare the sizes of files of this machine with the lock; nothing of them is read.

        Raises:
            SourceError: One has another size.
        """
        sizes = {name: (folder / name).stat().st_size for name in names if name in self.locked.files}
        wrong = [
            f"{self.where} ({shown(self.locked.source)}): {name} has {size} bytes, the lock has {locked}"
            for name, size in sizes.items()
            if (locked := self.locked.files[name]).size != size
        ]
        self._refuse(wrong, at_commit=False)

    def _changed(self, what: str, found: Mapping[str, FileDigest]) -> list[str]:
        return [
            f"{what}: {name} has {digest.size} bytes with sha256 {digest.sha256}, the lock has {locked}"
            for name, digest in found.items()
            if (locked := self.locked.files.get(name)) and (locked.size, locked.sha256) != (digest.size, digest.sha256)
        ]

    def _refuse(self, wrong: list[str], *, at_commit: bool) -> None:
        if wrong:
            offline = "; offline, first run it once without HF_HUB_OFFLINE" if at_commit else ""
            raise SourceError(
                "\n".join(wrong), hint=f"if that is meant to be, `{self.command}` locks what is there now{offline}"
            )


def pins(recipe: Recipe, lock: Lock) -> tuple[Pin | None, dict[str, Pin]]:
    """What the lock says of the base, where it has a source, and of every LoRA by name.

    Raises:
        SourceError: The lock does not fit the recipe.
    """
    _check_fits(recipe, lock)
    command = command_for(recipe)
    loras = {name: Pin(f"loras.{name}", locked, command) for name, locked in lock.sources.loras.items()}
    base = lock.sources.base
    return None if base is None else Pin("base", base, command), loras


def config_pin(recipe: Recipe, lock: Lock) -> Pin | None:
    """What the lock says of `base.config`, where it has a source.

    Raises:
        SourceError: The lock does not fit the recipe.
    """
    _check_fits(recipe, lock)
    config = lock.sources.config
    return None if config is None else Pin("base.config", config, command_for(recipe))


def component_pins(recipe: Recipe, lock: Lock) -> dict[str, Pin]:
    """What the lock says of components in the place of the base's own, by output and name.

    Raises:
        SourceError: The lock does not fit the recipe.
    """
    _check_fits(recipe, lock)
    command = command_for(recipe)
    return {
        key: Pin(f"outputs.{key.replace('/', '.components.')}", locked, command)
        for key, locked in lock.sources.beside.items()
    }


def _check_fits(recipe: Recipe, lock: Lock) -> None:
    """Compare what a recipe says of its sources with the lock; nothing is looked up.

    Raises:
        SourceError: The lock is of another recipe, or of this one before it was changed.
    """
    differences = [*_differences(recipe, lock)]
    if differences:
        raise SourceError(
            "\n".join(f"the lock does not fit the recipe {recipe.name}: {each}" for each in differences),
            hint=f"`{command_for(recipe)}` writes the lock anew; it knows the file, not what --set changes",
        )


def _differences(recipe: Recipe, lock: Lock) -> Iterator[str]:
    if lock.recipe != recipe.name:
        yield f"it is of the recipe {lock.recipe}"
    base = lock.sources.base
    if recipe.given_base is None:
        if base is None and lock.sources.family is None:
            yield "the recipe names no base, and the lock does not say what the LoRAs are for"
    elif base is None or recipe.base.source is None:
        if base is not None:
            yield f"base has the family {recipe.base.family}, the lock has the source {base.source}"
        elif recipe.base.source is not None:
            yield f"base has the source {shown(recipe.base.source)}, the lock has none"
    else:
        yield from _of_source("base", recipe.base, recipe.base.sha256, base)
    config = recipe.base.config_source
    locked_config = lock.sources.config.source if lock.sources.config else None
    if config != locked_config:
        yield f"base.config is {config or 'no source'}, the lock has {locked_config or 'none'}"
    yield from _of_components(recipe, lock)
    locked, given = lock.sources.loras, {lora.name: lora for lora in recipe.loras}
    yield from (f"it has no LoRA {name}" for name in given if name not in locked)
    yield from (f"it has a LoRA {name}, and the recipe has none" for name in locked if name not in given)
    for name, lora in given.items():
        if name in locked:
            yield from _of_source(f"loras.{name}", lora, lora.sha256, locked[name])


def _of_components(recipe: Recipe, lock: Lock) -> Iterator[str]:
    given = {key: shown(source) for key, source in recipe.components.items()}
    locked = {key: each.source for key, each in lock.sources.beside.items()}
    for key in sorted(given.keys() | locked.keys()):
        if given.get(key) != locked.get(key):
            yield f"{key} is {given.get(key, 'not replaced')}, the lock has {locked.get(key, 'none')}"


def _of_source(where: str, given: BaseSource | Lora, sha256: str | None, locked: LockedSource) -> Iterator[str]:
    if shown(given.source or "") != locked.source:
        yield f"{where} has the source {shown(given.source or '')}, the lock has {locked.source}"
    elif given.revision != locked.revision:
        yield f"{where} has {_revision(given.revision)}, the lock has {_revision(locked.revision)}"
    elif given.revision and _COMMIT.fullmatch(given.revision) and given.revision != locked.commit:
        yield f"{where} has commit {given.revision}, the lock has {_commit(locked.commit)}"
    elif sha256 is not None and [file.sha256 for file in locked.files.values()] != [sha256]:
        found = ", ".join(file.sha256 for file in locked.files.values())
        yield f"{where} has sha256 {sha256}, the lock has {found}"


def _commit(commit: str | None) -> str:
    if commit is None:
        return "no commit"
    return f"the digest {commit}" if ":" in commit else f"commit {commit}"


def _revision(revision: str | None) -> str:
    return f"the revision {revision}" if revision else "no revision"
