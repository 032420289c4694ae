"""What is different between two locks of one recipe, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.lock.model import Lock, LockedSource


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        where: `recipe`, `base`, or `loras.` and a name.
        what: `commit`, `licence`, the name of a file, …; empty for a whole source.
        was: In the earlier lock; None for what is new.
        now: In the later lock; None for what is gone.
    """

    where: str
    what: str
    was: str | None
    now: str | None

    def __str__(self) -> str:
        subject = ": ".join(filter(None, (self.where, self.what)))
        if self.was is None:
            return f"{subject} added: {self.now}"
        if self.now is None:
            return f"{subject} removed: it was {self.was}"
        return f"{subject} {'moved' if self.what == 'commit' else 'changed'} from {self.was} to {self.now}"


def changes(earlier: Lock, later: Lock) -> tuple[Change, ...]:
    """Every difference, in the order of the lock."""
    return tuple(_each_change(earlier, later))


def _each_change(earlier: Lock, later: Lock) -> Iterator[Change]:
    if earlier.recipe != later.recipe:
        yield Change("recipe", "name", earlier.recipe, later.recipe)
    yield from _of_source("base", earlier.sources.base, later.sources.base)
    if earlier.sources.family != later.sources.family:
        yield Change("base", "family", earlier.sources.family, later.sources.family)
    yield from _of_source("base.config", earlier.sources.config, later.sources.config)
    for where, before, now in (
        ("outputs", earlier.sources.beside, later.sources.beside),
        ("loras", earlier.sources.loras, later.sources.loras),
    ):
        for name in sorted(before.keys() | now.keys()):
            yield from _of_source(f"{where}.{name}", before.get(name), now.get(name))


def _of_source(where: str, earlier: LockedSource | None, later: LockedSource | None) -> Iterator[Change]:
    if earlier is None or later is None:
        if earlier is not later:
            yield Change(where, "", earlier.source if earlier else None, later.source if later else None)
        return
    pairs = {
        "source": (earlier.source, later.source),
        "revision": (earlier.revision, later.revision),
        "commit": (earlier.commit, later.commit),
        "licence": (earlier.licence, later.licence),
        "card": (_card(earlier), _card(later)),
    }
    for name in sorted(earlier.files.keys() | later.files.keys()):
        pairs[name] = _file(earlier, name), _file(later, name)
    yield from (Change(where, what, was, now) for what, (was, now) in pairs.items() if was != now)


def _card(source: LockedSource) -> str | None:
    return None if source.card is None else str(source.card)


def _file(source: LockedSource, name: str) -> str | None:
    return str(source.files[name]) if name in source.files else None
