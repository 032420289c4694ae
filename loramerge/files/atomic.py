"""Folders and files that are complete or not there: made beside their place, then put there in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from loramerge.files.kinds import refuse_special
from loramerge.files.writing import writing

_PARTIAL = ".partial"
_ELSEWHERE = "choose another place"
_RANDOM = r"[a-z0-9_]{8}"  # what tempfile puts into a name; no '.', so that `a.b` is never taken for a part of `a`
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def _anything(_old: Path) -> None:
    """Whatever is there may be replaced."""


@contextmanager
def replacing(place: Path, check: Callable[[Path], None] = _anything) -> Iterator[Path]:
    """An empty folder beside `place` that takes its place when the block ends well, and vanishes when it does not.

    A killed process leaves what was at `place`, or the new folder; never parts of both. Beside it may remain what
    `recover` and `clear` take care of. A folder that is replaced hands on its mode and its group, and its owner where
    that is allowed.

    Args:
        place: A folder, a file or nothing.
        check: Looks at what is to be replaced: right before, and once more when it has stepped aside, where nobody
            puts anything any more. It is told where that is; if it raises, everything stays as it was.

    Raises:
        LoramergeError: Nothing can be written there; the cause is the system's error.
    """
    with parents_of(place):
        with writing(place, _ELSEWHERE):
            staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=_PARTIAL, dir=place.parent))
        try:
            mode = _take_after(place, staging)
            yield staging
            with writing(place):
                _sync(staging)
                staging.chmod(mode)
                _put(staging, place, check)
        finally:
            remove(staging)


@contextmanager
def replacing_by_one(place: Path, check: Callable[[Path], None] = _anything) -> Iterator[Path]:
    """An empty folder beside `place`; the one file that is put into it takes that place when the block ends well.

    Args:
        place: A file or nothing.
        check: Looks at what is to be replaced, right before; if it raises, everything stays as it was.

    Raises:
        LoramergeError: It can't be written; the cause is the system's error.
    """
    with parents_of(place):
        with writing(place):
            staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=_PARTIAL, dir=place.parent))
        try:
            yield staging
            with writing(place):
                (file,) = (path for path in staging.rglob("*") if path.is_file())
                _sync(staging)
                file.chmod(0o666 & ~_umask())
                check(place)
                file.replace(place)
                _sync_folder(place.parent)
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
        refuse_special(place)
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
    with writing(place, _ELSEWHERE):
        made = [parent for parent in place.parents if not parent.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
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


def _take_after(place: Path, staging: Path) -> int:
    """Let a new folder be as the one that it replaces; returns the mode that it gets in the end."""
    mode = 0o755 & ~_umask()
    with suppress(OSError):
        old = place.lstat()
        if stat.S_ISDIR(old.st_mode):
            mode = stat.S_IMODE(old.st_mode)
            if os.name != "nt":
                with suppress(OSError):  # only root may give folders away
                    os.chown(staging, old.st_uid, -1)
                with suppress(OSError):  # others may give them to the groups that they are in
                    os.chown(staging, -1, old.st_gid)
    staging.chmod(mode | stat.S_IRWXU)  # what is written there takes after it, but it has to be written
    return mode


def _put(staging: Path, place: Path, check: Callable[[Path], None]) -> None:
    if not os.path.lexists(place):
        staging.rename(place)
        _sync_folder(place.parent)
        return
    refuse_special(place)
    check(place)
    if _exchange(staging, place):
        try:
            refuse_special(staging)
            check(staging)
        except BaseException:  # ^C as well: what stepped aside goes back before anything is raised
            _exchange(staging, place)
            raise
    else:
        # No atomic exchange on this system: the old one steps aside for the moment between two renames.
        aside = _aside(place)
        remove(aside)
        place.rename(aside)
        try:
            refuse_special(aside)
            check(aside)
            staging.rename(place)
        except BaseException:  # the same
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
