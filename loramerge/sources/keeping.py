"""Files from far away on their way into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loramerge.errors import SourceError


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
