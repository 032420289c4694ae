"""What is neither a file nor a folder: it may have no end, keep its reader waiting, and is never ours to replace."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def special(mode: int) -> str:
    """What something is in words, by its mode; empty for files, folders and links."""
    return _SPECIAL.get(stat.S_IFMT(mode), "")


def special_at(place: Path) -> tuple[Path, str] | None:
    """The first thing at a place or below it that is neither file nor folder nor link, and what it is in words."""
    try:
        mode = place.lstat().st_mode
    except OSError:
        return None
    if what := special(mode):
        return place, what
    if stat.S_ISDIR(mode):
        for parent, _, names in os.walk(place):
            for name in sorted(names):
                path = Path(parent, name)
                if what := special(path.lstat().st_mode):
                    return path, what
    return None


def refuse_special(place: Path) -> None:
    """Go on only if nothing at a place, or below it, would be lost that can't be made again.

    Raises:
        OSError: There is a device, a named pipe or a socket.
    """
    if found := special_at(place):
        path, what = found
        raise OSError(errno.EEXIST, f"{path} is {what}, which is never replaced", str(path))
