"""A folder that is complete or not there: made beside its place, then put there in one step."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loramerge.digest import files_of
from loramerge.errors import LoramergeError
from loramerge.statement import STATEMENT, Statement
from loramerge.words import some

REPORT = "report.json"
SIGNATURE = "model.sig"
BESIDE = (".git", ".gitattributes", ".cache", ".loramerge")
"""What git, a Hub and our own targets put beside the files that they hold."""
_PARTIAL = ".partial"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def check_place(place: Path, recipe: str, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse to replace anything but an earlier artifact of the same recipe.

    Args:
        place: Where the artifact is to go.
        recipe: The recipe's name.
        force: Replace whatever is there.
        inputs: What must never be inside, even then; the current folder and the home folder are such as well.

    Raises:
        LoramergeError: A file, a folder that is no artifact, one of another recipe, or one with foreign files in it.
    """
    for kept in (Path.cwd(), Path.home(), *inputs):
        if kept.resolve().is_relative_to(place):
            raise LoramergeError(
                f"{place} holds {kept}, and an artifact replaces its folder", hint="give a folder of its own with --out"
            )
    if force or not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    hint = "choose another folder with --out, or replace it with --force"
    if not place.is_dir():
        raise LoramergeError(f"{place} is a file", hint=hint)
    try:
        name, files = _papers(place)
    except (OSError, ValueError, KeyError, TypeError):
        raise LoramergeError(f"{place} exists and is no artifact of loramerge", hint=hint) from None
    if name != recipe:
        raise LoramergeError(f"{place} is an artifact of the recipe {name}, not of {recipe}", hint=hint)
    foreign = sorted(set(files_of(place)) - files - {SIGNATURE})
    if foreign:
        raise LoramergeError(f"{place} holds files that are not the artifact's: {some(foreign)}", hint=hint)


def _papers(place: Path) -> tuple[str, set[str]]:
    """The recipe's name and all files of an artifact, as it says itself."""
    if (place / STATEMENT).exists():
        statement = Statement.parse((place / STATEMENT).read_text(encoding="utf-8"))
        name = statement.predicate["buildDefinition"]["externalParameters"]["recipe"]["name"]
        return str(name), {*statement.subjects, STATEMENT}
    # loramerge 0.1 wrote no provenance; its report listed the files.
    report = json.loads((place / REPORT).read_text(encoding="utf-8"))
    return str(report["recipe"]["name"]), {*report["files"], REPORT}


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """An empty folder beside `place` that takes its place when the block ends well, and vanishes when it does not.

    A killed process leaves what was at `place`, or the new folder; never parts of both.

    Raises:
        LoramergeError: Nothing can be written there.
    """
    made = [parent for parent in place.parents if not parent.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=_PARTIAL, dir=place.parent))
    except OSError as error:
        raise LoramergeError(
            f"{place} can't be written: {error.strerror or error}", hint="choose another folder with --out"
        ) from None
    try:
        staging.chmod(0o755 & ~_umask())
        yield staging
        try:
            _sync(staging)
            _put(staging, place)
        except OSError as error:
            raise LoramergeError(f"{place} can't be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # it holds the folder now
                parent.rmdir()


def _put(staging: Path, place: Path) -> None:
    if not place.is_dir():
        place.unlink(missing_ok=True)  # a file is replaced with --force only
        staging.rename(place)
    elif not _exchange(staging, place):
        # No atomic exchange on this system: the old folder steps aside for the moment between two renames.
        aside = place.with_name(f".{place.name}.old{_PARTIAL}")
        shutil.rmtree(aside, ignore_errors=True)
        place.rename(aside)
        try:
            staging.rename(place)
        except OSError:
            aside.rename(place)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    _sync_folder(place.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, with Linux's renameat2(2); False where that can't be done."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = (os.fsencode(one), os.fsencode(other))
    if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for path in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders can't be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
