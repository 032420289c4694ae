"""Copies of files that share their blocks with the original where the file system can."""

from __future__ import annotations

import os
import shutil
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
    if not (hasattr(os, "copy_file_range") and _copied_by_the_kernel(source, target)):
        shutil.copyfile(source, target)


def _copied_by_the_kernel(source: Path, target: Path) -> bool:
    with open_file(source) as from_file, target.open("wb") as to_file:
        left = os.fstat(from_file.fileno()).st_size
        while left:
            try:
                done = os.copy_file_range(from_file.fileno(), to_file.fileno(), min(left, _PORTION))
            except OSError:  # between file systems, or none that takes the call: the plain copy says what is wrong
                return False
            if not done:
                return False
            left -= done
    return True
