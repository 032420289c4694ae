"""Folders and files that are complete or not there: made beside their place, then put there in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from loramerge.errors import LoramergeError

_PARTIAL = ".partial"
_RANDOM = r"[a-z0-9_]{8}"  # what tempfile puts into a name; no '.', so that `a.b` is never taken for a part of `a`
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """An empty folder beside `place` that takes its place when the block ends well, and vanishes when it does not.

    A killed process leaves what was at `place`, or the new folder; never parts of both. Beside it may remain what
    `recover` and `clear` take care of.

    Raises:
        LoramergeError: Nothing can be written there.
    """
    with parents_of(place):
        try:
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
            remove(staging)


@contextmanager
def replacing_file(place: Path) -> Iterator[IO[bytes]]:
    """An empty file beside `place` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        OSError: It can't be written.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{place.name}.", suffix=_PARTIAL, dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(place)
        _sync_folder(place.parent)
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def parents_of(place: Path) -> Iterator[None]:
    """Make the folders above a place; those that are empty when the block ends vanish again.

    Raises:
        LoramergeError: They can't be made.
    """
    try:
        made = [parent for parent in place.parents if not parent.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoramergeError(
            f"{place} can't be written: {error.strerror or error}", hint="choose another folder with --out"
        ) from None
    try:
        yield
    finally:
        for parent in made:
            with suppress(OSError):  # it holds something now
                parent.rmdir()


def recover(place: Path) -> bool:
    """Put back what stepped aside when a run was killed between the two renames of `replacing`.

    Returns:
        Whether there was anything to do.
    """
    aside = _aside(place)
    if not os.path.lexists(aside):
        return False
    if os.path.lexists(place):
        remove(aside)
    else:
        aside.rename(place)
    return True


def leftovers(place: Path) -> list[Path]:
    """What `replacing` has beside a place at this moment: of this run, of another one, or of one that was killed."""
    pattern = re.compile(rf"\.{re.escape(place.name)}\.{_RANDOM}{re.escape(_PARTIAL)}")
    try:
        return sorted(path for path in place.parent.iterdir() if pattern.fullmatch(path.name))
    except OSError:
        return []


def remove(path: Path) -> None:
    """Remove a folder or a file as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.old{_PARTIAL}")


def _put(staging: Path, place: Path) -> None:
    if not os.path.lexists(place):
        staging.rename(place)
    elif not _exchange(staging, place):
        # No atomic exchange on this system: the old one steps aside for the moment between two renames.
        aside = _aside(place)
        remove(aside)
        place.rename(aside)
        try:
            staging.rename(place)
        except OSError:
            aside.rename(place)
            raise
        remove(aside)
    _sync_folder(place.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders or files in one step, with Linux's renameat2(2); False where that can't be done."""
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
