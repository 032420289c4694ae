"""Files that tell whether another machine sees the same folder."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


class Marks:
    """A file of our own in each folder; it is gone with the last line of the command."""

    def __init__(self) -> None:
        self._files: dict[Path, Path] = {}

    def of(self, folder: Path, what: str) -> dict[str, str]:
        """The file of a folder, which is made if need be → what the folder is, for `ClusterTask.there`.

        Nothing where it can't be written: whoever writes there says why.

        Args:
            folder: Where others are to write.
            what: They write there, in words.
        """
        if folder not in self._files:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(prefix=".loramerge-seen-", suffix=".partial", dir=folder)
            except OSError:
                return {}
            os.close(handle)
            self._files[folder] = Path(name)
        return {str(self._files[folder]): f"the folder {folder} of this machine, {what}"}

    def remove(self) -> None:
        """Take all of them away."""
        for file in self._files.values():
            with suppress(OSError):
                file.unlink()
        self._files.clear()
