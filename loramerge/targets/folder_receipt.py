"""What a recipe put into a folder, as a file in that folder remembers it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loramerge.atomic import replacing_file

RECEIPTS = ".loramerge"


@dataclass(frozen=True)
class FolderReceipt:
    """What a recipe put into a folder.

    Attributes:
        recipe: The recipe's name.
        files: Name → sha256 of what is there.
        replacing: Name → every sha256 that a file may have while entries are replaced one after the other. Only a run
            that was killed leaves any.
    """

    recipe: str
    files: Mapping[str, str]
    replacing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, place: Path, recipe: str) -> FolderReceipt:
        """The receipt in a folder; one that is missing or damaged claims nothing."""
        try:
            said = json.loads(cls.file(place, recipe).read_text(encoding="utf-8"))
            files = {str(name): str(digest) for name, digest in said["files"].items()}
            replacing = {str(name): tuple(map(str, digests)) for name, digests in said.get("replacing", {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(recipe, {})
        return cls(recipe, files, replacing)

    @staticmethod
    def file(place: Path, recipe: str) -> Path:
        """Where it lies."""
        return place / RECEIPTS / f"{recipe}.json"

    @property
    def digests(self) -> Mapping[str, tuple[str, ...]]:
        """Name → what the file may have: one sha256, or several where a run was killed."""
        return {**self.replacing, **{name: (digest,) for name, digest in self.files.items()}}

    def after(self, earlier: FolderReceipt) -> FolderReceipt:
        """What to say on the way from an earlier receipt to this one: each file is as it was or as it shall be."""
        known = {name: {*digests} for name, digests in earlier.digests.items()}
        for name, digest in self.files.items():
            known.setdefault(name, set()).add(digest)
        return FolderReceipt(self.recipe, {}, {name: tuple(sorted(digests)) for name, digests in known.items()})

    def write(self, place: Path) -> None:
        """Write it into a folder.

        Raises:
            OSError: It can't be written.
        """
        said: dict[str, object] = {"recipe": self.recipe, "files": dict(sorted(self.files.items()))}
        if self.replacing:
            said["replacing"] = dict(sorted(self.replacing.items()))
        file = self.file(place, self.recipe)
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(file) as stream:
            stream.write((json.dumps(said, indent=2) + "\n").encode())
