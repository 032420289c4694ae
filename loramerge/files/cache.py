"""Where what can be had again is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`loramerge` below the user's cache folder, as the XDG base directory specification has it.

    Raises:
        RuntimeError: Nothing says where the user's home is.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loramerge"
