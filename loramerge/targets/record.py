"""What a target remembers of a recipe, in a file beside what was published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FOLDER = ".loramerge"


def place(recipe: str) -> str:
    """Where the record of a recipe lies, from the target's root."""
    return f"{FOLDER}/{recipe}.json"


@dataclass(frozen=True)
class Record:
    """What was published.

    Attributes:
        recipe: The recipe's name.
        files: Name → SHA-256.
        definition: What the files were made from, as the recipe layer has it; None if that is unknown.
        blobs: Name → id that git gives to the content, where the target's listings have those.
    """

    recipe: str
    files: Mapping[str, str]
    definition: Mapping[str, Any] | None = None
    blobs: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The record as JSON; the same record is the same text."""
        data = {"recipe": self.recipe, "files": self.files, "blobs": self.blobs, "definition": self.definition}
        kept = {key: value for key, value in data.items() if value or key == "files"}
        return json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str) -> Record | None:
        """Read what `text` wrote; None for anything else."""
        try:
            data = json.loads(text)
            definition = data.get("definition")
            return cls(
                str(data["recipe"]),
                {str(name): str(digest) for name, digest in data["files"].items()},
                definition if isinstance(definition, dict) else None,
                {str(name): str(blob) for name, blob in data.get("blobs", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
