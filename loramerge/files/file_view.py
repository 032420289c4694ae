"""A file that somebody else keeps, read where and when its bytes are needed."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from loramerge.errors import SourceError
from loramerge.files.digest import FileDigest, sha256_in
from loramerge.files.file_version import FileVersion
from loramerge.files.kept_digests import DamagedEntryError, keep, kept
from loramerge.files.reading import open_file, read_at, reading
from loramerge.files.tensor_header import read_header

Kept = TypeVar("Kept")

_digests: dict[FileVersion, FileDigest] = {}  # of what this program has read
_from_entries: dict[FileVersion, FileDigest] = {}  # what earlier ones kept
_damaged: dict[FileVersion, str] = {}  # where what they kept is damaged
_keeping = threading.Lock()
_LARGE = 64 << 20  # bytes that are hashed in a moment
_MOST = 4096  # files of each kind that are kept in mind: a process may run for days
_UNSETTLED = 2_000_000_000  # nanoseconds; no file system's clock is coarser


@dataclass(frozen=True)
class FileBytes:
    """A file that somebody else keeps.

    Attributes:
        path: The file.
        shown_as: What errors call it.
        version: What tells the content that is meant from any other.
        link: The same of the link that the path may be; a file's own if it is none.
    """

    path: Path
    shown_as: str
    version: FileVersion
    link: FileVersion

    @classmethod
    def at(cls, path: Path, shown_as: str) -> FileBytes:
        """The file as it is now.

        Raises:
            SourceError: It can't be read.
        """
        with reading(shown_as):
            return cls(path.absolute(), shown_as, FileVersion.of(path.stat()), FileVersion.of(path.lstat()))

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer.

        Raises:
            SourceError: The file can't be read, or is no longer what it was.
        """
        with reading(self.shown_as):
            complete, status = read_at(self.path, buffer, offset)
        if not complete or FileVersion.of(status) != self.version:
            raise self._changed()

    def digest(self) -> FileDigest:
        """Size and SHA-256.

        A file that is the same by all that tells it from others is not read again while the program runs, nor, if it
        is large, by later ones: see `kept_digests`. One that was just changed might be changed once more at the same
        time by the file system's clock.

        Raises:
            SourceError: The file can't be read, or is no longer what it was.
        """
        known = self.known_digest()
        if known is None:
            begun = time.time_ns()
            known = self.remember(self._hashed(), begun)
        return known

    def known_digest(self) -> FileDigest | None:
        """Size and SHA-256, where the file need not be read for them; else None.

        Raises:
            SourceError: The file can't be read, or is no longer what it was.
        """
        return _digests.get(self.version) or self._kept()

    def remember(self, sha256: str, begun: int) -> FileDigest:
        """Keep in mind what the content is known by, unless it had just been changed when it was read.

        Args:
            sha256: Of all bytes, each of which was read while the file was what it was.
            begun: When the first of them was, in nanoseconds.
        """
        found = FileDigest(self.version.size, sha256)
        if begun - max(self.version.modified, self.version.changed) > _UNSETTLED:
            _keep_in_mind(_digests, self.version, found)
            keep(self.version, sha256)
        return found

    @property
    def hashed_before(self) -> bool:
        """Whether the digest is what an earlier run found, and this one did not read the file for it."""
        return self.version in _from_entries and self.version not in _digests

    @property
    def damaged_entry(self) -> str | None:
        """Where what an earlier run kept of the file is damaged, if it is."""
        return _damaged.get(self.version)

    def _kept(self) -> FileDigest | None:
        """What an earlier run found. The file is opened for it: some network drives say only then what it is now."""
        try:
            found = kept(self.version)
        except DamagedEntryError as error:
            _keep_in_mind(_damaged, self.version, str(error))
            return None
        if found is None:
            return None
        with reading(self.shown_as), open_file(self.path) as file:
            if FileVersion.of(os.fstat(file.fileno())) != self.version:
                raise self._changed()
        return _keep_in_mind(_from_entries, self.version, FileDigest(self.version.size, found))

    def _hashed(self) -> str:
        with reading(self.shown_as), open_file(self.path) as file:
            before = FileVersion.of(os.fstat(file.fileno()))
            found = sha256_in(file)
            after = FileVersion.of(os.fstat(file.fileno()))
        if not before == after == self.version:
            self.check()
            raise self._changed()
        return found

    def check(self) -> None:
        """Raise if it is no longer what it was.

        Raises:
            SourceError: It was changed, or can't be read any more.
        """
        now = FileBytes.at(self.path, self.shown_as)
        if (now.version, now.link) != (self.version, self.link):
            raise self._changed()

    def _changed(self) -> SourceError:
        return SourceError(
            f"{self.shown_as} was changed while it was read", hint="run again when nothing else writes it"
        )


def _keep_in_mind(known: dict[FileVersion, Kept], version: FileVersion, what: Kept) -> Kept:
    """Keep it, and let go of what came first where there is too much."""
    with _keeping:
        known[version] = what
        while len(known) > _MOST:
            del known[next(iter(known))]
    return what


def digest_of(path: Path, shown_as: str) -> FileDigest:
    """Size and SHA-256 of a file. What a large safetensors file says of itself is looked at before it is hashed.

    Args:
        path: The file.
        shown_as: What errors call it.

    Raises:
        SourceError: It can't be read, or is large, called safetensors and none.
    """
    file = FileBytes.at(path, shown_as)
    if file.version.size > _LARGE and path.name.endswith(".safetensors"):
        read_header(file)
    return file.digest()
