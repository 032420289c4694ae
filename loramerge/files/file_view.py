"""A file that somebody else keeps, read where and when its bytes are needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loramerge.errors import SourceError
from loramerge.files.reading import open_file, reading


@dataclass(frozen=True)
class FileVersion:
    """A file's content at a moment, as far as the system tells it from others.

    Size and time of the last change can be forged: by a file that is moved into the place, by `touch`. Whoever changes
    a file or what the system says of it changes `changed` as well.

    Attributes:
        device: Of the file.
        inode: Of the file.
        size: In bytes.
        modified: When its content was changed, in nanoseconds.
        changed: When its content or anything about it was changed, in nanoseconds.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int


@dataclass(frozen=True)
class FileBytes:
    """A file that somebody else keeps.

    Attributes:
        path: The file.
        shown_as: What errors call it.
        version: What tells the content that is meant from any other.
    """

    path: Path
    shown_as: str
    version: FileVersion

    @classmethod
    def at(cls, path: Path, shown_as: str) -> FileBytes:
        """The file as it is now.

        Raises:
            SourceError: It can't be read.
        """
        with reading(shown_as):
            return cls(path.absolute(), shown_as, _version(path.stat()))

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer.

        Raises:
            SourceError: The file can't be read, or is no longer what it was.
        """
        with reading(self.shown_as), open_file(self.path) as file:
            file.seek(offset)
            complete = filled(file, buffer)
            same = _version(os.fstat(file.fileno())) == self.version
        if not (complete and same):
            raise self._changed("became shorter" if same else "was changed")

    def check(self) -> None:
        """Raise if it is no longer what it was.

        Raises:
            SourceError: It was changed, or can't be read any more.
        """
        if FileBytes.at(self.path, self.shown_as).version != self.version:
            raise self._changed("was changed")

    def _changed(self, what: str) -> SourceError:
        return SourceError(f"{self.shown_as} {what} while it was read", hint="run again when nothing else writes it")


def filled(file: Any, buffer: memoryview) -> bool:
    """Fill a buffer from an unbuffered file; False where it ends before."""
    found = 0
    while found < len(buffer) and (more := file.readinto(buffer[found:])):
        found += more
    return found == len(buffer)


def _version(status: os.stat_result) -> FileVersion:
    return FileVersion(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
