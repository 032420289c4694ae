"""A folder on this machine, such as `~/ComfyUI/models/loras`, which may hold files of others."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from loramerge.errors import LoramergeError, PublishError
from loramerge.files.at_rest import at_rest
from loramerge.files.atomic import recover
from loramerge.files.digest import sha256_of
from loramerge.files.home import expanded
from loramerge.files.lengths import too_long
from loramerge.files.run_lock import clear, in_turn, was_left
from loramerge.files.writing import closed
from loramerge.targets import record
from loramerge.targets.folder_contents import (
    MOVE,
    irreplaceable,
    obstacle,
    published_in,
    record_in,
    still_ours,
    unchanged,
)
from loramerge.targets.folder_orphans import orphans_in, prune
from loramerge.targets.folder_publication import FolderPublication
from loramerge.targets.held import Live, Orphan
from loramerge.targets.target import Delivery, Receipt, Target

if TYPE_CHECKING:
    from loramerge.progress import Progress
    from loramerge.targets.record import Record

_CORRECT = "correct `path` in the recipe"


class FolderTarget(Target):
    """Copies the outputs into a folder.

    What was put there is remembered in `.loramerge/<recipe>.json`: a file that is not in that list, or was changed
    since, is never overwritten without force. One that had the right content before is remembered as well, as
    borrowed: it is never removed.
    """

    kind: Literal["folder"] = Field(description="A folder on this machine.")
    path: str = Field(min_length=1, description="Where; relative paths start at the recipe's own folder.")

    @field_validator("path")
    @classmethod
    def _not_too_long(cls, path: str) -> str:
        if reason := too_long(path):
            raise PydanticCustomError("inconsistent", "{what}", {"what": f"{reason}; choose a shorter one"})
        return path

    @property
    def spelling(self) -> str:
        """The path, as it was given."""
        return self.path

    def live(self, recipe: str, origin: Path, claims: Collection[str] = ()) -> Live:
        """What the folder holds of a recipe.

        Args:
            recipe: The recipe's name.
            origin: Where a relative path starts.
            claims: What will lie at its root.

        Raises:
            PublishError: The folder can't be read, or is none.
        """
        place: Path | str = self.path
        try:
            place = self._place(origin)
            return at_rest(partial(_live, place, recipe, claims), partial(record_in, place, recipe))
        except (OSError, RuntimeError, ValueError) as error:
            raise _explained(error, f"{place} can't be read") from None

    def folder(self, origin: Path) -> Path:
        """The folder that the files go to.

        Args:
            origin: Where a relative path starts.

        Raises:
            PublishError: There can be no such path.
        """
        try:
            return self._place(origin)
        except (OSError, RuntimeError, ValueError) as error:  # no such user's home, a NUL in the name
            raise _explained(error, f"{self.path} can't be a folder") from None

    def own_place(self, recipe: str) -> str:
        """A folder below this one."""
        return f"path: {self.path.rstrip('/')}/{recipe}"

    def tidy(self, recipe: str, origin: Path, progress: Progress | None = None) -> None:
        """Remove what killed runs left beside the folder, and beside the entries of this recipe in it."""
        place = self.folder(origin)
        known = record_in(place, recipe)
        entries = sorted({place, place / record.place(recipe), *(place / _top(name) for name in _names(known))})
        if any(map(was_left, entries)):
            with in_turn(place, progress) as alone:
                for entry in entries if alone else ():
                    clear(entry, progress)

    def orphans(self, home: str, recipes: Collection[str], origin: Path) -> tuple[Orphan, ...]:
        """As the records in the folder say."""
        place = self.folder(origin)
        try:
            return tuple(orphans_in(place, home, recipes))
        except OSError as error:
            raise _explained(error, f"{place} can't be read") from None

    def prune(self, orphan: Orphan, origin: Path) -> None:
        """Remove the files, and the record."""
        place = self.folder(origin)
        try:
            prune(place, orphan.recipe)
        except OSError as error:
            raise _explained(error, f"removing {orphan.recipe} from {place} failed") from None

    def publish(self, delivery: Delivery, origin: Path, *, force: bool, progress: Progress | None = None) -> Receipt:
        """Put files into the folder.

        A folder that is new, or holds nothing but this recipe's files, is replaced in one step; in a folder with
        files of others, or one that the system does not let us replace, every top-level entry is. What others put
        there meanwhile is kept. Another run that publishes there is waited for.

        Args:
            delivery: What to put there.
            origin: Where a relative path starts.
            force: Overwrite files of others.
            progress: Told of another run that is waited for.

        Raises:
            PublishError: Files of others are in the way, or the folder can't be written.
        """
        place: Path | str = self.path
        try:
            place = self._place(origin)
            _check(place, delivery.files)
            with in_turn(place, progress) as alone:
                if alone:
                    _clear(place, delivery, progress)
                return FolderPublication(place, delivery, force).put()
        except (OSError, RuntimeError, ValueError) as error:  # no such user's home, a NUL in the name, a full disk
            raise _explained(error, f"publishing to {place} failed") from None
        except PublishError:
            raise
        except LoramergeError as error:
            raise PublishError(f"publishing to {place} failed: {error.message}", hint=_CORRECT) from None

    def _place(self, origin: Path) -> Path:
        return (origin / expanded(self.path)).resolve()


def _live(place: Path, recipe: str, claims: Collection[str]) -> Live:
    shut, known, present = _closed(place), record_in(place, recipe), published_in(place)
    if known is None:
        theirs = {name: partial(sha256_of, each) for name, each in present.items() if _top(name) in claims}
        return Live(str(place), foreign=theirs, refusal=shut)
    ours = still_ours(known, present)
    still = ours | unchanged({name: (digest,) for name, digest in known.borrowed.items()}, present)
    names = {*known.digests, *known.borrowed}
    lasting, refusal = irreplaceable(place, names), obstacle(place, names, present, still)
    return Live(
        str(place),
        published=True,
        definition=known.definition,
        outputs=known.outputs,
        names=frozenset({*known.files, *known.borrowed}),
        drift=tuple(known.drift(present, still)),
        refusal=f"it {lasting}; move it away" if lasting else f"it {refusal}; {MOVE}" if refusal else shut,
    )


def _explained(error: Exception, what: str) -> PublishError:
    return PublishError(f"{what}: {getattr(error, 'strerror', None) or error}", hint=_CORRECT)


def _names(known: Record | None) -> set[str]:
    return set(known.digests) if known else set()


def _top(name: str) -> str:
    return name.partition("/")[0]


def _closed(place: Path) -> str:
    """Why nothing can be written to a place; empty if it can.

    Raises:
        PublishError: There can be no folder.
    """
    there = next(each for each in (place, *place.parents) if os.path.lexists(each))
    if not there.is_dir():
        raise PublishError(f"{there} is a file, not a folder", hint=_CORRECT)
    return f"{there} can't be written: {reason}; {_CORRECT}" if (reason := closed(there)) else ""


def _check(place: Path, files: Mapping[str, Path]) -> None:
    if place.exists() and not place.is_dir():
        raise PublishError(f"{place} is a file, not a folder", hint=_CORRECT)
    if any(path.resolve().is_relative_to(place) for path in files.values()):
        raise PublishError(f"{place} holds the artifact itself", hint=_CORRECT)


def _clear(place: Path, delivery: Delivery, progress: Progress | None) -> None:
    """Put right what a killed run left between this recipe's files."""
    names = {*delivery.files, *_names(record_in(place, delivery.recipe))}
    for entry in sorted({place / name.partition("/")[0] for name in names}):
        recover(entry)
        clear(entry, progress)
    clear(place / record.place(delivery.recipe), progress)
