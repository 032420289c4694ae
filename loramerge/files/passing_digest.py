"""The digest of a file, taken of bytes that somebody else reads it for."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.files.digest import FileDigest
    from loramerge.files.file_view import FileBytes

_PIECE = 1 << 20
PORTION = 8 << 20
"""Bytes that a cache of the system certainly keeps until they are read once more."""


class PassingDigest:
    """SHA-256 of a file whose bytes pass in the order in which they lie there.

    What is left out, such as a header, is read besides: together each byte is read once.

    Args:
        file: The file. Whoever reads it sees to it that it stays what it was.
    """

    def __init__(self, file: FileBytes) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._begun = time.time_ns()
        self._at = 0

    def passed(self, data: memoryview, offset: int) -> None:
        """Take in bytes.

        Args:
            data: As they lie in the file.
            offset: Where they begin there; not before the end of those that passed already.
        """
        self.read_up_to(offset)
        self._digest.update(data)
        self._at += len(data)

    def settled(self) -> FileDigest:
        """Size and SHA-256, when nothing passes any more. From now on the program knows the file by it.

        Raises:
            SourceError: The file can't be read, or is no longer what it was.
        """
        self.read_up_to(self._file.version.size)
        self._file.check()
        return self._file.remember(self._digest.hexdigest(), self._begun)

    def read_up_to(self, offset: int) -> None:
        """Read what did not pass before an offset.

        Raises:
            SourceError: The file can't be read, or is no longer what it was.
        """
        assert self._at <= offset  # noqa: S101  whoever reads has looked at the order
        buffer = memoryview(bytearray(min(offset - self._at, _PIECE)))
        while left := offset - self._at:
            piece = buffer[:left]
            self._file.read_into(piece, self._at)
            self._digest.update(piece)
            self._at += len(piece)
