"""Digests of large files, kept between runs: a base that did not change need not be read again to be known.

Each file has an entry of its own in the cache folder, by its device and inode, so that runs side by side never write
the same one with other contents. A blob of a Hub's cache is one file, whichever commits lead to it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.files.cache import cache_folder
from loramerge.files.reading import content_of

if TYPE_CHECKING:
    from loramerge.files.file_version import FileVersion

LEAST = 16 << 20
"""Bytes of a file from which on its digest is kept: others are hashed in a moment."""
_LAYOUT = 1  # of an entry; to be counted up whenever what is kept changes its meaning
_FOLDER = "digests"
_MOST = 2048  # entries; each is some 300 bytes
_LARGEST = 1 << 12  # bytes of an entry
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DamagedEntryError(Exception):
    """What is kept of a file can't be used; the message says where it lies."""


_anew = 0
_counting = threading.Lock()


@contextmanager
def reading_anew(anew: bool = True) -> Iterator[None]:
    """While the block runs, nothing counts that earlier runs kept: in no thread, for some of them take digests.

    Args:
        anew: False changes nothing.
    """
    global _anew  # noqa: PLW0603  threads that take digests know nothing of who started them
    with _counting:
        _anew += anew
    try:
        yield
    finally:
        with _counting:
            _anew -= anew


def kept(version: FileVersion) -> str | None:
    """The SHA-256 that an earlier run found of the same content; None where there is none, or it shall not count.

    Raises:
        DamagedEntryError: There is an entry, and it is damaged.
    """
    if _anew or not _worth(version):
        return None
    try:
        place = _entry_file(version)
        data = content_of(place, most=_LARGEST)
    except (OSError, RuntimeError):
        return None
    try:
        document = json.loads(data)
        entry = document["entry"]
        sound = document["sha256"] == _checksum(entry)
    except (ValueError, LookupError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise DamagedEntryError(str(place))
    return str(entry["sha256"]) if entry == _described(version, entry.get("sha256")) else None


def keep(version: FileVersion, sha256: str) -> None:
    """Keep what a file's content is known by; where nothing can be written, the next run reads the file again.

    Only for a file that was left alone for a while before it was read: one that was just written might be written once
    more at the same time by the file system's clock, and nothing would tell.
    """
    if not _worth(version):
        return
    entry = _described(version, sha256)
    from loramerge.files.atomic import replacing_file  # `validate` keeps nothing

    with suppress(OSError, RuntimeError):
        place = _entry_file(version)
        place.parent.mkdir(parents=True, exist_ok=True)
        _make_room(place.parent)
        with replacing_file(place) as file:
            file.write(json.dumps({"sha256": _checksum(entry), "entry": entry}).encode())


def _worth(version: FileVersion) -> bool:
    return version.size >= LEAST and version.inode != 0  # some file systems number nothing


def _entry_file(version: FileVersion) -> Path:
    return cache_folder() / _FOLDER / f"{version.device:x}-{version.inode:x}.json"


def _described(version: FileVersion, sha256: Any) -> dict[str, Any]:
    known = sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else ""
    return {"layout": _LAYOUT, **version._asdict(), "sha256": known}


def _checksum(entry: Any) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def _make_room(folder: Path) -> None:
    """Let go of the oldest quarter where there are too many; of what killed runs left there, too."""
    names = [*folder.iterdir()]
    if len(names) >= _MOST:
        for path in sorted(names, key=_age)[: len(names) - _MOST * 3 // 4]:
            path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another run made room, too
        return 0.0
