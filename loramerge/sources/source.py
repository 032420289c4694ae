"""What every kind of source offers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Source(Protocol):
    """A parsed reference. Parsing touches neither disk nor network."""

    @property
    def reference(self) -> str:
        """The reference as the recipe gives it."""

    def locate(self) -> Located:
        """Find out what is there, and at which commit, without fetching any weights.

        Raises:
            SourceError: It is missing, refused, gated or unreachable.
        """


@dataclass(frozen=True)
class Located:
    """What a source turned out to be at one moment.

    Attributes:
        reference: The reference as the recipe gives it.
        revision: The 40-hex commit, for a source that has commits.
        files: Names of all files in it, relative to it, '/'-separated, sorted. A reference to one file has one.
        fetch: Makes the named files available and returns the local folder in which they lie under those names.
    """

    reference: str
    revision: str | None
    files: tuple[str, ...]
    fetch: Fetch


class Fetch(Protocol):
    """Bring files here; read-only for the caller."""

    def __call__(self, names: Iterable[str], /) -> Path:
        """Return the folder; raise `SourceError` when a file can't be had."""
