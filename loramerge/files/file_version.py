"""What tells a file's content from any other without reading it."""

from __future__ import annotations

import os
from typing import NamedTuple


class FileVersion(NamedTuple):
    """A file's content at a moment, as far as the system tells it from others.

    Size and time of the last change can be forged: by a file that is moved into the place, by `touch`. Whoever changes
    a file or what the system says of it changes `changed` as well; on Windows that is when the file was made.

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

    @classmethod
    def of(cls, status: os.stat_result) -> FileVersion:
        """What the system says of a file."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
