"""Where what can be had again is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`loramerge` below $XDG_CACHE_HOME, or where this system keeps such things: `~/.cache` on Linux.

    `~/Library/Caches` on macOS and `%LOCALAPPDATA%` on Windows.

    Raises:
        RuntimeError: Nothing says where the user's home is.
    """
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "loramerge"
    from platformdirs import user_cache_path

    return user_cache_path("loramerge", appauthor=False).expanduser()  # what it can't expand, it leaves with its ~
