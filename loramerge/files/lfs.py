"""Git LFS pointers: the small texts that stand for large files until these are fetched."""

from __future__ import annotations

import re

from loramerge.errors import SourceError

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/.*?^size (?P<size>\d{1,19})$", re.DOTALL | re.MULTILINE
)
_LARGEST = 1024


def refuse_pointer(start: bytes, size: int, shown: str) -> None:
    """Go on only if a file is none.

    Args:
        start: How it begins.
        size: Of all of it, in bytes.
        shown: What errors call it.

    Raises:
        SourceError: It is a pointer.
    """
    found = _POINTER.match(start) if size < _LARGEST else None
    if found:
        raise SourceError(
            f"{shown} is a Git LFS pointer; the file that it stands for has {int(found['size']):,} bytes",
            hint="fetch the file with `git lfs pull` in its repository (`git lfs install` comes first, once)",
        )
