"""Looking at a place that another run may replace meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from loramerge.errors import LoramergeError
from loramerge.files.reading import content_of

Found = TypeVar("Found")

_AGAIN = 9  # times at most: so many runs would have to replace it, one right after the other


def at_rest(look: Callable[[], Found], mark: Callable[[], object]) -> Found:
    """What is found at a place that stayed as it was: what is half before and half after is looked at again.

    Args:
        look: Looks at the place.
        mark: What is different after every change.

    Raises:
        Exception: What `look` raises of a place that stayed as it was.
    """
    for _ in range(_AGAIN):
        before = mark()
        try:
            found = look()
        except (OSError, ValueError, LoramergeError):
            if mark() == before:
                raise
        else:
            if mark() == before:
                return found
    return look()


def content_at(path: Path) -> bytes | None:
    """What a file holds, as a mark; None where it can't be read, which is a mark as well."""
    try:
        return content_of(path)
    except (OSError, ValueError):
        return None
