"""The base of a command line."""

from __future__ import annotations

import os
from dataclasses import dataclass

from loramerge.documents.problems import did_you_mean
from loramerge.errors import UsageError
from loramerge.families import FAMILIES, SIZES


@dataclass(frozen=True)
class GivenBase:
    """What `--base` says: one of both, or nothing.

    Attributes:
        source: As a recipe has it.
        family: One of `SIZES`.
    """

    source: str | None = None
    family: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> GivenBase:
        """Read what follows `--base`; a folder of that name counts before a family.

        Raises:
            UsageError: It is neither.
        """
        if text is None or os.path.exists(text):  # noqa: PTH110  the same
            return cls(source=text)
        if text in SIZES:
            return cls(family=text)
        if ("/" in text or ":" in text) and text.partition("/")[0] not in FAMILIES:
            return cls(source=text)
        raise UsageError(
            f"--base {text or repr(text)}: neither a folder nor a family{did_you_mean(text, SIZES)}",
            hint="give a folder, hf://owner/name, a family, or one of its sizes, as wan/1.3b; families: "
            + ", ".join(name for name, family in FAMILIES.items() if family.published),
        )
