"""A folder on this machine, such as `~/ComfyUI/models/loras`, which may hold files of others."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.atomic import recover, replacing, replacing_file
from loramerge.digest import files_of, sha256_of
from loramerge.errors import LoramergeError, PublishError
from loramerge.fields import Listed, Name, StrictModel
from loramerge.targets.folder_receipt import RECEIPTS, FolderReceipt
from loramerge.targets.target import Receipt
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

    def publish(
        self,
        recipe: str,
        files: Mapping[str, Path],
        origin: Path,
        *,
        force: bool,
        progress: Progress | None = None,
    ) -> Receipt:
        """Put files into the folder.

        A folder that is new, or holds nothing but this recipe's files, is replaced in one step; in a folder with
        files of others every top-level entry is. Another run that publishes there is waited for.

        Args:
            recipe: The recipe's name.
            files: Name in the target → where the file is now.
            origin: Where a relative path starts.
            force: Overwrite files of others.
            progress: Told of another run that is waited for.

        Raises:
            PublishError: Files of others are in the way, or the folder can't be written.
        """
        place: Path | str = self.path
        try:
            place = (origin / Path(self.path).expanduser()).resolve()
            _check(place, files)
            with in_turn(place, progress) as alone:
                if alone:
                    _clear(place, recipe, files, progress)
                return _put(recipe, files, place, force=force)
        except (OSError, RuntimeError, ValueError) as error:  # no such user's home, a NUL in the name, a full disk
            reason = getattr(error, "strerror", None) or error
            raise PublishError(f"publishing to {place} failed: {reason}", hint=_CORRECT) from None
        except PublishError:
            raise
        except LoramergeError as error:
            raise PublishError(f"publishing to {place} failed: {error.message}", hint=_CORRECT) from None


def _check(place: Path, files: Mapping[str, Path]) -> None:
    if place.exists() and not place.is_dir():
        raise PublishError(f"{place} is a file, not a folder", hint=_CORRECT)
    if any(path.resolve().is_relative_to(place) for path in files.values()):
        raise PublishError(f"{place} holds the artifact itself", hint=_CORRECT)


def _clear(place: Path, recipe: str, files: Iterable[str], progress: Progress | None) -> None:
    """Put right what a killed run left between this recipe's files."""
    names = {*files, *FolderReceipt.read(place, recipe).digests}
    for entry in sorted({place / name.partition("/")[0] for name in names}):
        recover(entry)
        clear(entry, progress)
    clear(FolderReceipt.file(place, recipe), progress)


def _put(recipe: str, files: Mapping[str, Path], place: Path, *, force: bool) -> Receipt:
    wanted = {name: sha256_of(path) for name, path in files.items()}
    goal = {name: {digest} for name, digest in wanted.items()}
    earlier = FolderReceipt.read(place, recipe)
    present = {name: path for name, path in files_of(place).items() if not name.startswith(f"{RECEIPTS}/")}
    there = _unchanged(goal, present)
    # A file of others with the same content stays theirs: it is in no receipt, and is never removed.
    theirs = there - set(earlier.digests)
    receipt = FolderReceipt(recipe, {name: digest for name, digest in wanted.items() if name not in theirs})
    if receipt == earlier and there == set(wanted):
        return Receipt(str(place), changed=False)
    if not force:
        _refuse_foreign(place, goal, earlier.digests, present)
    ours = _unchanged(earlier.digests, present)
    if _holds_nothing_else(place, recipe, ours):
        with replacing(place) as staging:
            _copy(files, staging)
            FolderReceipt(recipe, wanted).write(staging)
    else:
        receipt.after(earlier).write(place)
        _replace_entries(place, files)
        for name in sorted(ours - set(files)):
            _remove(place, name)
        receipt.write(place)
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
        elif name not in ours and name != f"{RECEIPTS}/{recipe}.json":
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
