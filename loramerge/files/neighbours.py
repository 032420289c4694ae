"""What lies beside a file that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from loramerge.messages import some

_MOST = 5000
"""Names that are looked at: a folder may have millions."""
_LISTED = 5


def beside(path: Path, endings: Sequence[str] = (), *, spelt: Path | None = None) -> str:
    """What to say of a path that leads nowhere: the name most like it, else what its folder holds.

    Args:
        path: Where it should be.
        endings: How what is meant ends, such as `.yaml`; anything counts that is not hidden, if empty.
        spelt: As the user spelt it, if that is not from the current folder.

    Returns:
        A sentence without its full stop; empty where nothing can be said.
    """
    nowhere = next((each for each in reversed(path.parents) if not _is_there(each)), None)
    if nowhere is not None:
        close = get_close_matches(nowhere.name, _names(nowhere.parent, folders=True), n=1)
        return f"there is no folder {nowhere}" + (f"; did you mean {nowhere.with_name(close[0])}?" if close else "")
    there = [name for name in _names(path.parent) if name.endswith(tuple(endings) or "")]
    stems = {Path(name).stem if endings else name: name for name in there}
    if close := get_close_matches(path.stem if endings else path.name, stems, n=1):
        return f"did you mean {(spelt or path).with_name(stems[close[0]])}?"
    if there:
        return f"beside it: {some(there, _LISTED)}"
    return f"no {' or '.join(endings)} file lies beside it" if endings else ""


def _names(folder: Path, *, folders: bool = False) -> list[str]:
    try:
        found = islice(folder.iterdir(), _MOST)
        return sorted(each.name for each in found if each.name[0] != "." and (not folders or each.is_dir()))
    except OSError:
        return []


def _is_there(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:  # a name that is too long
        return True
