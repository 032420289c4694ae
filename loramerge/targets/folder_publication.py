"""The files of one recipe on their way to a folder that may hold files of others."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from loramerge.errors import LoramergeError, PublishError
from loramerge.files.atomic import replacing, replacing_file
from loramerge.files.digest import sha256_of
from loramerge.files.reading import open_file
from loramerge.targets.folder_contents import (
    MOVE,
    Traces,
    below,
    give_up,
    holds_nothing_else,
    irreplaceable,
    obstacle,
    published_in,
    record_in,
    remove_file,
    still_ours,
    traces_of,
    unchanged,
    with_owners_words,
    write_record,
    written_into,
)
from loramerge.targets.record import Record, digest_of_ours
from loramerge.targets.target import Receipt

if TYPE_CHECKING:
    from loramerge.targets.target import Delivery

# What a system answers where a folder can't be swapped for another one, though it can be written.
_IN_PLACE = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST}


class _NotWholeError(Exception):
    """The folder can't be replaced whole: the system refuses, or somebody put something there meanwhile."""


@dataclass(frozen=True)
class FolderPublication:
    """What shall be in the folder, and the steps that bring it there.

    Attributes:
        place: The folder.
        delivery: What to put there.
        force: Overwrite files of others.
    """

    place: Path
    delivery: Delivery
    force: bool

    def put(self) -> Receipt:
        """Bring everything there.

        Raises:
            PublishError: Files of others are in the way, or came in the way.
            LoramergeError: The folder can't be replaced.
            OSError: It can't be written.
        """
        try:
            return self._put(whole=_can_be_replaced(self.place))
        except _NotWholeError:
            return self._put(whole=False)  # looks at everything again

    @cached_property
    def _wanted(self) -> Mapping[str, str]:
        return {name: digest_of_ours(name, path) for name, path in self.delivery.files.items()}

    def _put(self, *, whole: bool) -> Receipt:
        place, recipe, wanted = self.place, self.delivery.recipe, self._wanted
        goal = {name: {digest} for name, digest in wanted.items()}
        traces = traces_of(place)
        earlier = record_in(place, recipe) or Record(recipe, {})
        present = published_in(place)
        known = still_ours(earlier, present)
        there = unchanged(goal, present) | {name for name in known if earlier.files.get(name) == wanted.get(name)}
        # A file of others with the same content stays theirs: it is watched, and never removed.
        borrowed = {name: wanted[name] for name in there - set(earlier.digests)}
        ours = {name: digest for name, digest in wanted.items() if name not in borrowed}
        delivery = self.delivery
        now = Record(recipe, ours, delivery.definition, delivery.outputs, borrowed=borrowed, home=delivery.home)
        if (now.files, earlier.replacing) == (earlier.files, {}) and there == set(wanted):
            if now != earlier:
                write_record(now, place)
            return Receipt(str(place), changed=False)
        gone = known - set(wanted)
        edited = written_into(earlier, present, known | there)
        # What somebody wrote into files is not ours to remove.
        known -= {name for name in gone & {*edited} if sha256_of(present[name]) not in earlier.digests[name]}
        if what := irreplaceable(place, wanted):
            raise PublishError(f"{place} {what}", hint="move it away")
        if not self.force and (what := obstacle(place, wanted, present, known | there)):
            raise PublishError(f"{place} {what}", hint=MOVE)
        files = with_owners_words(self.delivery.files, edited)
        if whole and holds_nothing_else(place, recipe, known):
            self._replace(files, now, traces)
            return Receipt(str(place), changed=True)
        write_record(now.after(earlier), place)
        self._replace_entries(files, traces)
        for name in sorted(give_up(place, recipe, known - set(wanted))):
            if os.path.lexists(place / name):
                self._refuse_changes(name, traces, place / name)
                remove_file(place, name)
        write_record(now, place)
        return Receipt(str(place), changed=True)

    def _replace(self, files: Mapping[str, Path | bytes], now: Record, traces: Traces) -> None:
        """Replace the folder whole, unless it is no longer as it was when we looked."""

        def check(old: Path) -> None:
            if traces_of(old) != traces:
                raise _NotWholeError

        try:
            with replacing(self.place, check) as staging:
                _copy(files, staging)
                write_record(now, staging)
        except LoramergeError as error:
            if self.place.is_dir() and isinstance(error.__cause__, OSError) and error.__cause__.errno in _IN_PLACE:
                raise _NotWholeError from error
            raise

    def _replace_entries(self, files: Mapping[str, Path | bytes], traces: Traces) -> None:
        entries: dict[str, dict[str, Path | bytes]] = {}
        for name, path in files.items():
            top, _, rest = name.partition("/")
            entries.setdefault(top, {})[rest] = path
        for top, inside in sorted(entries.items()):
            if "" in inside:
                self._replace_file(inside[""], top, traces)
            else:
                check = partial(self._refuse_changes, top, traces)
                with replacing(self.place / top, check) as staging:
                    _copy(inside, staging)

    def _replace_file(self, content: Path | bytes, name: str, traces: Traces) -> None:
        place = self.place / name
        with replacing_file(place) as target:
            _pour(content, target)
            self._refuse_changes(name, traces, place)

    def _refuse_changes(self, name: str, traces: Traces, old: Path) -> None:
        """Nothing vanishes that came, or was changed, after we looked."""
        if not self.force and traces_of(old) != below(name, traces):
            raise PublishError(
                f"{self.place / name} was changed by somebody else while we published", hint="look at it, and run again"
            )


def _can_be_replaced(place: Path) -> bool:
    """Whether another folder can take the place of this one: not where something is mounted there, for instance."""
    return not place.exists() or (not place.is_mount() and os.access(place.parent, os.W_OK | os.X_OK))


def _copy(files: Mapping[str, Path | bytes], folder: Path) -> None:
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            _pour(content, stream)


def _pour(content: Path | bytes, target: IO[bytes]) -> None:
    if isinstance(content, bytes):
        target.write(content)
        return
    with open_file(content) as source:
        shutil.copyfileobj(source, target, 1 << 20)
