"""What every target takes and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Delivery:
    """What is to be published.

    Attributes:
        recipe: The recipe's name.
        files: Name in the target → where the file is now.
        definition: What the files were made from; the target keeps it, and compares nothing of it.
        outputs: Folders of the outputs that the files belong to; kept as well.
    """

    recipe: str
    files: Mapping[str, Path]
    definition: Mapping[str, Any] | None = None
    outputs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Receipt:
    """What publishing to a target did.

    Attributes:
        place: Where the files are now.
        changed: Whether anything had to be written.
        url: Where to look at them, or at the pull request that proposes them.
        commit: The 40-hex commit that has them, for a target that has commits.
    """

    place: str
    changed: bool
    url: str | None = None
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """A state of what was published of a recipe: what a target holds now, what a tag names, what is proposed.

    Attributes:
        definition: What the files were made from; None if that is unknown.
        outputs: Folders of the outputs that the files belong to; None if that is unknown.
        names: Files that were published.
        drift: What is no longer as it was published, in words.
    """

    definition: Mapping[str, Any] | None = None
    outputs: tuple[str, ...] | None = None
    names: frozenset[str] = frozenset()
    drift: tuple[str, ...] = ()


@dataclass(frozen=True)
class Live(Held):
    """What a target holds of a recipe at this moment.

    Attributes:
        place: Where.
        note: What else is to be said where nothing is.
        published: Whether the recipe was ever published there.
        refusal: Why publishing other files would be refused without force; empty if it would not.
        tag: The target's tag; None if it has none.
        tagged: What the tag names; None if it is missing.
        proposals: Address of an open pull request by whoever publishes here → what it proposes.
    """

    place: str
    note: str = ""
    published: bool = False
    refusal: str = ""
    tag: str | None = None
    tagged: Held | None = None
    proposals: Mapping[str, Held] = field(default_factory=dict)
