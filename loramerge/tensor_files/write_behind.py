"""Large files that go to the disk while they are written, not all of them in the end."""

from __future__ import annotations

import os
from io import BufferedWriter

_STRETCH = 8 << 20  # bytes from one call to the next
_BEHIND = 4  # stretches that are looked at in a call: the last to have it written, those before to let it go


class SteadyWriter:
    """Writes to a file, and keeps little of it in memory.

    On Linux, `POSIX_FADV_DONTNEED` starts to write what is dirty to the disk and drops what has arrived there from the
    page cache. A model is larger than what else the cache holds, and the last fsync has less to wait for.

    Args:
        file: Open for writing, at its beginning.
    """

    def __init__(self, file: BufferedWriter) -> None:
        self._file = file
        self._end = self._sent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        self._file.write(data)
        self._end += len(data)

    def let_go(self) -> None:
        """See to what was written since the last call. It may wait for the disk, so another thread should call it."""
        if self._end - self._sent >= _STRETCH and hasattr(os, "posix_fadvise"):
            start, end = max(self._sent - (_BEHIND - 1) * _STRETCH, 0), self._end
            os.posix_fadvise(self._file.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)
            self._sent = end
