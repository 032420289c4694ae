"""Paths that begin at a user's home."""

from __future__ import annotations

from pathlib import Path


def expanded(text: str) -> Path:
    """A path, with the home folder for a `~` or `~user` that it begins with.

    `./~x` is a file that is called so: Path would drop the `./`, and then take it for somebody's home.

    Raises:
        RuntimeError: There is no such home.
    """
    return Path(text).expanduser() if text.startswith("~") else Path(text)
