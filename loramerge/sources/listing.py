"""What a place far away lists, and the part of it that a reference means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from loramerge.errors import SourceError
from loramerge.sources.source import nearest, stays_inside

Entry = TypeVar("Entry")


def refuse_leaving(reference: str, what: str, names: Iterable[str]) -> None:
    """Refuse names that would be written outside of the folder that they are meant for.

    Args:
        reference: The source.
        what: What kind of place it is, such as `repository`.
        names: All that it lists.

    Raises:
        SourceError: There is such a name.
    """
    leaving = next((name for name in names if not stays_inside(name)), None)
    if leaving is not None:
        raise SourceError(
            f"{reference}: the {what} has {leaving!r}, a file name that leaves its folder",
            hint=f"do not use this {what}",
        )


def below(reference: str, place: str, path: str, listing: Mapping[str, Entry]) -> tuple[str, dict[str, Entry]]:
    """What a reference means of a listing: a file, a folder or all of it, but nothing hidden.

    Args:
        reference: The source.
        place: What lists, in words.
        path: The file or folder; empty for all.
        listing: Name → what is known of the file.

    Returns:
        The folder, with a '/' at its end, and name in it → what is known of the file.

    Raises:
        SourceError: There is nothing such.
    """
    folder = path[: path.rfind("/") + 1] if path in listing else path and f"{path}/"
    found = {
        name.removeprefix(folder): entry
        for name, entry in listing.items()
        if (name == path or (path not in listing and name.startswith(folder)))
    }
    visible = {name: entry for name, entry in found.items() if not re.search(r"(^|/)\.", name)}
    if not visible:
        folders = {str(parent) for name in listing for parent in Path(name).parents} - {"."}
        raise SourceError(
            f"{reference}: {place} has no file or folder {path}" if path else f"{reference}: {place} has no files",
            hint=nearest(path, [*listing, *folders]),
        )
    return folder, visible
