"""Paths that are longer than systems take them, found before anything is done."""

from __future__ import annotations

import os
import re

_NAME = 255
"""Bytes that a name may have on the file systems in use."""
_PATH = 4096
"""Bytes that a path may have, on Linux."""
_BESIDE = 18
"""Bytes that the name of what is half written has besides: `.NAME.abcdefgh.partial`."""
_BELOW = 256
"""Bytes for the names of what lies below a place."""


def too_long(place: str) -> str:
    """Why nothing can be written to a place, by the length of its path alone; empty if it can.

    Args:
        place: A path, as it was given.
    """
    if (size := len(os.fsencode(place))) > (most := _PATH - _BELOW):
        return f"a path of {size} bytes is too long, {most} are the most"
    size = max(len(os.fsencode(name)) for name in re.split(r"[/\\]" if os.name == "nt" else "/", place))
    if size > (most := _NAME - _BESIDE):
        return f"a name of {size} bytes is too long, {most} are the most"
    return ""
