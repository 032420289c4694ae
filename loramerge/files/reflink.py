"""Copies of files that share their blocks with the original where the file system can."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from loramerge.files.reading import open_file

_PORTION = 1 << 30


def copy(source: Path, target: Path) -> None:
    """Copy a file's content.

    Linux clones the blocks in copy_file_range(2) on Btrfs, XFS and the like, and copies inside the kernel elsewhere.

    Args:
        source: Symbolic links, of which caches consist, are followed.
        target: Replaced if it is there.
    """
    for _ in copying(source, target, portion=_PORTION):
        pass


def copying(source: Path, target: Path, portion: int) -> Iterator[int]:
    """Copy a file's content in portions, and tell after each where it ended.

    Args:
        source: Symbolic links, of which caches consist, are followed.
        target: Replaced if it is there.
        portion: Bytes of one, at most; where the kernel does not copy, all are copied at once.
    """
    size = end = 0
    if hasattr(os, "copy_file_range"):
        with open_file(source) as from_file, target.open("wb") as to_file:
            size = os.fstat(from_file.fileno()).st_size
            while end < size and (done := _copied(from_file.fileno(), to_file.fileno(), min(size - end, portion))):
                end += done
                yield end
        if end == size:
            return
    shutil.copyfile(source, target)
    yield source.stat().st_size


def _copied(source: int, target: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size)
    except OSError:  # between file systems, or none that takes the call: the plain copy says what is wrong
        return 0
