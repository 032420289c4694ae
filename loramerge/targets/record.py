"""What a target remembers of a recipe, in a file beside what was published."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loramerge.artifact import model_card
from loramerge.artifact.contents import CARD
from loramerge.files.digest import sha256_of
from loramerge.files.reading import content_of

FOLDER = ".loramerge"


def place(recipe: str) -> str:
    """Where the record of a recipe lies, from the target's root."""
    return f"{FOLDER}/{recipe}.json"


def places(names: Iterable[str]) -> list[str]:
    """Those of the names, from the target's root, at which records lie, sorted."""
    return sorted(name for name in names if re.fullmatch(rf"{re.escape(FOLDER)}/[^/]+\.json", name))


def digest_of_ours(name: str, path: Path) -> str:
    """SHA-256 of a file; of a model card without what its owner wrote into it."""
    if name == CARD and (found := model_card.digest(content_of(path))) is not None:
        return found
    return sha256_of(path)


@dataclass(frozen=True)
class Record:
    """What was published.

    Attributes:
        recipe: The recipe's name.
        files: Name → SHA-256.
        definition: What the files were made from, as the recipe layer has it; None if that is unknown.
        outputs: Folders of the outputs that were meant; None if that is unknown.
        blobs: Name → id that git gives to the content, where the target's listings have those.
        replacing: Name → every SHA-256 that a file may have while files are replaced one after the other. Only a run
            that was killed leaves any.
        borrowed: Name → SHA-256 of files that others had put there already, with the same content.
        home: What tells the folder of recipes that this one is from, from all others; empty if that is unknown.
    """

    recipe: str
    files: Mapping[str, str]
    definition: Mapping[str, Any] | None = None
    outputs: tuple[str, ...] | None = None
    blobs: Mapping[str, str] = field(default_factory=dict)
    replacing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    borrowed: Mapping[str, str] = field(default_factory=dict)
    home: str = ""

    @property
    def digests(self) -> Mapping[str, tuple[str, ...]]:
        """Name → what the file may have: one SHA-256, or several where a run was killed."""
        return {**self.replacing, **{name: (digest,) for name, digest in self.files.items()}}

    def drift(self, present: Collection[str], still: Collection[str]) -> Iterator[str]:
        """What is no longer as it was published, in words.

        Args:
            present: Names of what there is.
            still: Names of what is as the record says.
        """
        if self.replacing:
            yield "a run that published there was killed"
        for name in sorted(self.claimed - {*still}):
            yield f"{name} was changed" if name in present else f"{name} is missing"

    @property
    def claimed(self) -> set[str]:
        """Names of the files that the recipe counts on, whoever put them there."""
        return {*self.digests, *self.borrowed}

    def inheriting(self, names: Collection[str]) -> Record | None:
        """The same, where those who put some files there give them up: they are this recipe's now.

        Args:
            names: Of the files.

        Returns:
            None where it had found none of them there.
        """
        mine = {name: digest for name, digest in self.borrowed.items() if name in names}
        left = {name: digest for name, digest in self.borrowed.items() if name not in names}
        return replace(self, files={**self.files, **mine}, borrowed=left) if mine else None

    def after(self, earlier: Record) -> Record:
        """What to say on the way from an earlier record to this one: each file is as it was or as it shall be."""
        known = {name: {*digests} for name, digests in earlier.digests.items()}
        for name, digest in self.files.items():
            known.setdefault(name, set()).add(digest)
        replacing = {name: tuple(sorted(digests)) for name, digests in known.items()}
        borrowed = {name: digest for each in (earlier, self) for name, digest in each.borrowed.items()}
        return Record(self.recipe, {}, replacing=replacing, borrowed=borrowed)

    def text(self) -> str:
        """The record as JSON; the same record is the same text."""
        data = {
            "recipe": self.recipe,
            "files": self.files,
            "blobs": self.blobs,
            "definition": self.definition,
            "outputs": self.outputs,
            "replacing": self.replacing,
            "borrowed": self.borrowed,
            "home": self.home,
        }
        kept = {key: value for key, value in data.items() if value or key == "files"}
        return json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str) -> Record | None:
        """Read what `text` wrote; None for anything else."""
        try:
            data = json.loads(text)
            definition, outputs = data.get("definition"), data.get("outputs")
            found = cls(
                str(data["recipe"]),
                {str(name): str(digest) for name, digest in data["files"].items()},
                definition if isinstance(definition, dict) else None,
                None if outputs is None else tuple(map(str, outputs)),
                {str(name): str(blob) for name, blob in data.get("blobs", {}).items()},
                {str(name): tuple(map(str, digests)) for name, digests in data.get("replacing", {}).items()},
                {str(name): str(digest) for name, digest in data.get("borrowed", {}).items()},
                str(data.get("home", "")),
            )
            found.text().encode()  # half of a character can be read and not written
            if not all(name.isprintable() for name in (*found.digests, *found.borrowed)):
                return None  # nothing of ours is called so, and it would be shown as lines of our own
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return found
