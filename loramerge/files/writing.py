"""Errors of the system that name what could not be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loramerge.errors import LoramergeError


@contextmanager
def writing(place: Path, hint: str = "") -> Iterator[None]:
    """Name what the block writes, where that fails.

    Args:
        place: A file or folder.
        hint: What to do about it.

    Raises:
        LoramergeError: For an OSError of the block, which is its cause.
    """
    try:
        yield
    except OSError as error:
        raise LoramergeError(f"{place} can't be written: {error.strerror or error}", hint=hint) from error
