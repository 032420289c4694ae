"""Files from far away in the cache, and on their way into it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loramerge.errors import SourceError
from loramerge.files.file_view import FileBytes
from loramerge.files.reflink import copy


@contextmanager
def keeping(shown: str, folder: Path) -> Iterator[None]:
    """Say what to do where a file can't be kept.

    Args:
        shown: What the error begins with.
        folder: Where it is kept.

    Raises:
        SourceError: The system refuses something inside the block.
    """
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{shown}: can't keep the file in {folder}: {error.strerror or error}",
            hint="free some space, correct its permissions, or set XDG_CACHE_HOME to another folder",
        ) from error


def is_right(file: Path, size: int, sha256: str, shown: str) -> bool:
    """Whether a file is what it should be; reading it is spared as for any other file.

    Args:
        file: In the cache.
        size: Bytes that it should have.
        sha256: Of them.
        shown: What an error begins with.

    Raises:
        OSError: It can't be read.
    """
    if not file.is_file() or file.stat().st_size != size:
        return False
    return FileBytes.at(file, shown).digest().sha256 == sha256


def link(file: Path, content: Path) -> None:
    """Let a file have a content, in one step: by a second name for it, or a copy where there is no such thing.

    Raises:
        OSError: It can't be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".") as folder:
        staged = Path(folder, "content")
        try:
            staged.hardlink_to(content)
        except OSError:
            copy(content, staged)
        staged.replace(file)
