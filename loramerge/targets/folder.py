"""A folder on this machine, such as `~/ComfyUI/models/loras`, which may hold files of others."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.atomic import recover, replacing, replacing_file
from loramerge.digest import files_of, sha256_of
from loramerge.errors import LoramergeError, PublishError
from loramerge.fields import Listed, Name, StrictModel
from loramerge.targets import record
from loramerge.targets.record import Record
from loramerge.targets.target import Delivery, Live, Receipt
from loramerge.turns import clear, in_turn
from loramerge.words import some

if TYPE_CHECKING:
    from loramerge.progress import Progress

_CORRECT = "correct `path` in the recipe"


class FolderTarget(StrictModel):
    """Copies the outputs into a folder.

    What was put there is remembered in `.loramerge/<recipe>.json`: a file that is not in that list, or was changed
    since, is never overwritten without force.
    """

    takes_papers: ClassVar[bool] = False

    kind: Literal["folder"] = Field(description="A folder on this machine.")
    path: str = Field(min_length=1, description="Where; relative paths start at the recipe's own folder.")
    outputs: Listed[Name] | None = Field(
        None, min_length=1, description="Folders of the outputs to publish; all if absent."
    )

    def live(self, recipe: str, origin: Path) -> Live:
        """What the folder holds of a recipe.

        Args:
            recipe: The recipe's name.
            origin: Where a relative path starts.

        Raises:
            PublishError: The folder can't be read.
        """
        place: Path | str = self.path
        try:
            place = self._place(origin)
            known = _record(place, recipe)
            if known is None:
                return Live(str(place))
            drift = tuple(_drift(known, files_of(place)))
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PublishError(f"{place} can't be read: {reason}", hint=_CORRECT) from None
        return Live(
            str(place),
            published=True,
            definition=known.definition,
            outputs=known.outputs,
            names=frozenset(known.files),
            drift=drift,
        )

    def publish(self, delivery: Delivery, origin: Path, *, force: bool, progress: Progress | None = None) -> Receipt:
        """Put files into the folder.

        A folder that is new, or holds nothing but this recipe's files, is replaced in one step; in a folder with
        files of others every top-level entry is. Another run that publishes there is waited for.

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
                return _put(delivery, place, force=force)
        except (OSError, RuntimeError, ValueError) as error:  # no such user's home, a NUL in the name, a full disk
            reason = getattr(error, "strerror", None) or error
            raise PublishError(f"publishing to {place} failed: {reason}", hint=_CORRECT) from None
        except PublishError:
            raise
        except LoramergeError as error:
            raise PublishError(f"publishing to {place} failed: {error.message}", hint=_CORRECT) from None

    def _place(self, origin: Path) -> Path:
        return (origin / Path(self.path).expanduser()).resolve()


def _check(place: Path, files: Mapping[str, Path]) -> None:
    if place.exists() and not place.is_dir():
        raise PublishError(f"{place} is a file, not a folder", hint=_CORRECT)
    if any(path.resolve().is_relative_to(place) for path in files.values()):
        raise PublishError(f"{place} holds the artifact itself", hint=_CORRECT)


def _clear(place: Path, delivery: Delivery, progress: Progress | None) -> None:
    """Put right what a killed run left between this recipe's files."""
    known = _record(place, delivery.recipe)
    names = {*delivery.files, *(known.digests if known else ())}
    for entry in sorted({place / name.partition("/")[0] for name in names}):
        recover(entry)
        clear(entry, progress)
    clear(place / record.place(delivery.recipe), progress)


def _put(delivery: Delivery, place: Path, *, force: bool) -> Receipt:
    recipe, files = delivery.recipe, delivery.files
    wanted = {name: sha256_of(path) for name, path in files.items()}
    goal = {name: {digest} for name, digest in wanted.items()}
    earlier = _record(place, recipe) or Record(recipe, {})
    present = {name: path for name, path in files_of(place).items() if not name.startswith(f"{record.FOLDER}/")}
    there = _unchanged(goal, present)
    # A file of others with the same content stays theirs: it is in no record, and is never removed.
    theirs = there - set(earlier.digests)
    ours = {name: digest for name, digest in wanted.items() if name not in theirs}
    now = Record(recipe, ours, delivery.definition, delivery.outputs)
    if (now.files, earlier.replacing) == (earlier.files, {}) and there == set(wanted):
        if now != earlier:
            _write(now, place)
        return Receipt(str(place), changed=False)
    if not force:
        _refuse_foreign(place, goal, earlier.digests, present)
    known = _unchanged(earlier.digests, present)
    if _holds_nothing_else(place, recipe, known):
        with replacing(place) as staging:
            _copy(files, staging)
            _write(replace(now, files=wanted), staging)
    else:
        _write(now.after(earlier), place)
        _replace_entries(place, files)
        for name in sorted(known - set(files)):
            _remove(place, name)
        _write(now, place)
    return Receipt(str(place), changed=True)


def _holds_nothing_else(place: Path, recipe: str, ours: Collection[str]) -> bool:
    """Whether every entry of a folder is a file of this recipe or a folder of such: no link, no empty folder."""
    for path in place.rglob("*"):
        name = path.relative_to(place).as_posix()
        if path.is_symlink():
            return False
        if path.is_dir():
            if not any(path.iterdir()):
                return False
        elif name not in ours and name != record.place(recipe):
            return False
    return True


def _unchanged(known: Mapping[str, Collection[str]], present: Mapping[str, Path]) -> set[str]:
    return {name for name, digests in known.items() if name in present and sha256_of(present[name]) in digests}


def _refuse_foreign(
    place: Path,
    wanted: Mapping[str, Collection[str]],
    earlier: Mapping[str, Collection[str]],
    present: Mapping[str, Path],
) -> None:
    """Nothing may vanish but what this recipe put there: neither files of the same name nor others in our folders."""
    folders = {name.partition("/")[0] for name in wanted if "/" in name}
    linked = [name for name in sorted(folders) if (place / name).is_symlink()]
    if linked:
        raise PublishError(f"{place} has a link where {some(linked)} should go", hint="move it away")
    touched = {name for name in present if name in wanted or name.partition("/")[0] in folders}
    in_the_way = sorted(touched - _unchanged(earlier, present) - _unchanged(wanted, present))
    if in_the_way:
        raise PublishError(
            f"{place} holds {some(in_the_way)}, which this recipe did not put there, or which was changed since",
            hint="move it away, or overwrite it with --force",
        )


def _replace_entries(place: Path, files: Mapping[str, Path]) -> None:
    entries: dict[str, dict[str, Path]] = {}
    for name, path in files.items():
        top, _, rest = name.partition("/")
        entries.setdefault(top, {})[rest] = path
    for top, inside in sorted(entries.items()):
        if "" in inside:
            _replace_file(inside[""], place / top)
        else:
            with replacing(place / top) as staging:
                _copy(inside, staging)


def _replace_file(source: Path, place: Path) -> None:
    with replacing_file(place) as target, source.open("rb") as content:
        shutil.copyfileobj(content, target, 1 << 20)


def _remove(place: Path, name: str) -> None:
    """Remove a file, and the folders that it leaves empty."""
    file = place / name
    file.unlink(missing_ok=True)
    with suppress(OSError):  # one that holds something
        for folder in file.parents[: name.count("/")]:
            folder.rmdir()


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _drift(known: Record, present: Mapping[str, Path]) -> Iterator[str]:
    if known.replacing:
        yield "a run that published there was killed"
    unchanged = _unchanged(known.digests, present)
    for name in sorted(set(known.digests) - unchanged):
        yield f"{name} was changed" if name in present else f"{name} is missing"


def _record(place: Path, recipe: str) -> Record | None:
    """What this recipe put there the last time."""
    try:
        return Record.parse((place / record.place(recipe)).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(known: Record, place: Path) -> None:
    file = place / record.place(known.recipe)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(file) as stream:
        stream.write(known.text().encode())
