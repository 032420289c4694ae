"""Plain data that remembers where each key and value came from."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from loramerge.documents.problems import KeyPath, Mistake, Origin, Problem


@dataclass
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and where it came from.

    Attributes:
        data: What the text says.
        keys: Origin of each key.
        values: Origin of each value.
        texts: Each scalar as it was written.
        problems: Mistakes that leave the rest readable.
        unread: Values that could not be read; `data` has None there.
    """

    data: Any = None
    keys: dict[KeyPath, Origin] = field(default_factory=dict)
    values: dict[KeyPath, Origin] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[KeyPath] = field(default_factory=set)

    def origin(self, key: KeyPath, *, of_key: bool = False) -> Origin:
        """Where a value (or its key) stands; for what is absent, where the nearest thing around it does."""
        if of_key and key in self.keys:
            return self.keys[key]
        while key not in self.values:
            key = key[:-1]
        return self.values[key]

    def placed(self, found: Iterable[Mistake]) -> Iterator[Problem]:
        """Mistakes with their places; those of values that could not even be read are known already."""
        for mistake in found:
            if not any(mistake.key[: len(unread)] == unread for unread in self.unread):
                origin = self.origin(mistake.key, of_key=mistake.of_key)
                yield Problem(origin, mistake.key, mistake.message, mistake.hint)

    def replaced(self, key: KeyPath, given: Document, *, origin: Origin) -> None:
        """Take note that `data` has another document's data at a key, and that all of it has one origin."""
        self.forget(key)
        self.unread |= {(*key, *each) for each in given.unread}
        self.keys[key] = self.values[key] = origin
        self.texts |= {(*key, *each): text for each, text in given.texts.items()}
        self.problems += [replace(each, origin=origin, key=(*key, *each.key)) for each in given.problems]

    def forget(self, key: KeyPath) -> None:
        """Take note that `data` no longer has what it had at a key; mistakes in that are none any more."""
        inside = len(key)
        for known in (self.keys, self.values, self.texts):
            for old in [each for each in known if each[:inside] == key]:
                del known[old]
        mended = {each for each in self.unread if each[:inside] == key}
        self.problems = [each for each in self.problems if each.key not in mended]
        self.unread -= mended

    def taken(self, key: KeyPath, other: Document, theirs: KeyPath = ()) -> None:
        """Take note that `data` has at a key what another document has at one; it stands where it stood there."""
        self.forget(key)
        inside = len(theirs)
        for mine, known in ((self.keys, other.keys), (self.values, other.values)):
            mine |= {(*key, *each[inside:]): origin for each, origin in known.items() if each[:inside] == theirs}
        self.texts |= {(*key, *each[inside:]): text for each, text in other.texts.items() if each[:inside] == theirs}
        unread = {each for each in other.unread if each[:inside] == theirs}
        self.unread |= {(*key, *each[inside:]) for each in unread}
        self.problems += [
            replace(each, key=(*key, *each.key[inside:])) for each in other.problems if each.key in unread
        ]

    @property
    def problems_of_form(self) -> list[Problem]:
        """Mistakes that are not those of a value that can't be read, and stay whatever becomes of the value."""
        return [each for each in self.problems if each.key not in self.unread]

    def copy(self) -> Document:
        """The same, which can be changed by itself."""
        return Document(
            copy.deepcopy(self.data),
            dict(self.keys),
            dict(self.values),
            dict(self.texts),
            list(self.problems),
            set(self.unread),
        )
