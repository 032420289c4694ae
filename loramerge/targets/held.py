"""What a target holds: of a recipe, and of recipes that are no longer there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


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
        foreign: Files of others under names that the recipe is going to use, and what finds out the SHA-256 of each: it
            is refused unless they are the same.
        tag: The target's tag; None if it has none.
        tagged: What the tag names; None if it is missing.
        proposals: Address of an open pull request by whoever publishes here → what it proposes.
    """

    place: str
    note: str = ""
    published: bool = False
    refusal: str = ""
    foreign: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    tag: str | None = None
    tagged: Held | None = None
    proposals: Mapping[str, Held] = field(default_factory=dict)

    @property
    def holds_anything(self) -> bool:
        """Whether there is anything that a recipe can be compared with."""
        return self.published or self.tagged is not None or bool(self.proposals)


@dataclass(frozen=True)
class Orphan:
    """What a target holds of a recipe that is no longer there.

    Attributes:
        place: The target.
        recipe: The recipe's name.
        unchanged: Files as they were published.
        changed: Files that somebody changed since; they stay.
    """

    place: str
    recipe: str
    unchanged: tuple[str, ...]
    changed: tuple[str, ...]
