"""Errors of the system that name what could not be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loramerge.errors import LoramergeError


def closed(folder: Path) -> str:
    """Why nothing can be written into a folder, as far as the system tells it without a try; empty if it can."""
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    flags = os.statvfs(folder).f_flag if hasattr(os, "statvfs") else 0
    return os.strerror(errno.EROFS if flags & getattr(os, "ST_RDONLY", 0) else errno.EACCES)


@contextmanager
def writing(place: Path, hint: str = "") -> Iterator[None]:
    """Name what the block writes, where that fails.

    Args:
        place: A file or folder.
        hint: What to do about it.

    Raises:
        LoramergeError: For an OSError of the block, which is its cause.
    """
    try:
        yield
    except OSError as error:
        raise LoramergeError(f"{place} can't be written: {_reason(place, error)}", hint=hint) from error


def _reason(place: Path, error: OSError) -> str:
    """What the system says, or what is in the way where it only says that something is."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        files = [each for each in place.parents if each.is_file()]
        if files:
            return f"{files[0]} is a file"
    return error.strerror or str(error)


def check_room(folder: Path, size: int) -> None:
    """Go on only if a disk has room for what is to be written.

    Args:
        folder: Where it goes; it exists.
        size: In bytes.

    Raises:
        LoramergeError: The disk has less room.
    """
    with writing(folder):
        free = shutil.disk_usage(folder).free
    if size > free:
        raise LoramergeError(
            f"{folder} can't be written: it takes {size / 1e9:.1f} GB, and the disk has room for {free / 1e9:.1f} GB",
            hint="free some space, or let --out name a folder on another disk",
        )
