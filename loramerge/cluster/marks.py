"""Files that tell whether another machine sees the same folder."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

_BEGIN, _END = ".loramerge-seen-", ".partial"


class Marks:
    """A file of our own in each folder, locked as long as it is needed: those of killed commands go away."""

    def __init__(self) -> None:
        self._held: dict[Path, BaseFileLock] = {}

    def of(self, folder: Path, what: str) -> dict[str, str]:
        """The file of a folder, which is made if need be → what the folder is, for `ClusterTask.there`.

        Nothing where it can't be written: whoever writes there says why.

        Args:
            folder: Where others are to write.
            what: They write there, in words.
        """
        if folder not in self._held:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                for left in folder.glob(f"{_BEGIN}*{_END}"):
                    _remove(left)
                file = folder / f"{_BEGIN}{uuid.uuid4().hex}{_END}"
                file.touch()
                self._held[folder] = _locked(file)
            except OSError:
                return {}
        return {self._held[folder].lock_file: f"the folder {folder} of this machine, {what}"}

    def remove(self) -> None:
        """Take all of them away."""
        for held in self._held.values():
            with suppress(OSError):
                Path(held.lock_file).unlink()
            held.release()
        self._held.clear()


def _locked(file: Path) -> BaseFileLock:
    """A lock on a file; only wanted where the storage has locks."""
    from filelock import FileLock

    lock = FileLock(file, fallback_to_soft=False)
    with suppress(OSError):
        lock.acquire(blocking=False)
    return lock


def _remove(left: Path) -> None:
    """Take away what a killed command left; one that runs holds its own."""
    lock = _locked(left)
    if lock.is_locked:
        with suppress(OSError):
            left.unlink()
        lock.release()
