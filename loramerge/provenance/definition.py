"""What determines an artifact: its recipe and its lock. Two of them are compared in words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from loramerge.artifact.contents import LOCK, RECIPE
from loramerge.errors import LoramergeError
from loramerge.files.reading import content_of
from loramerge.lock import model as locks
from loramerge.lock.changes import changes
from loramerge.lock.model import Lock
from loramerge.recipe import Recipe, parse

_FROM_CARDS = ("licence", "card")


@dataclass(frozen=True)
class Difference:
    """Why an artifact is no longer what its definition asks for.

    Attributes:
        kind: Which part of the definition is another one.
        detail: What of it, in words.
    """

    kind: Literal["recipe changed", "lock moved"]
    detail: str


@dataclass(frozen=True)
class Definition:
    """A recipe and its lock.

    Attributes:
        digest: SHA-256 of the recipe's text, 64 hex digits.
        recipe: What the text says, as plain data.
        lock: What its sources are.
    """

    digest: str
    recipe: Mapping[str, Any]
    lock: Lock

    @classmethod
    def of(cls, recipe: Recipe, lock: Lock) -> Definition:
        """Take in a recipe and its lock."""
        return cls(hashlib.sha256(recipe.text.encode()).hexdigest(), recipe.data, lock)

    @classmethod
    def of_artifact(cls, artifact: Path) -> Definition:
        """Read what an artifact was made from.

        Raises:
            LoramergeError: Its papers are missing or damaged.
        """
        try:
            text = content_of(artifact / RECIPE).decode("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise LoramergeError(
                f"{artifact} has no {RECIPE}, so it is no artifact",
                hint="name a folder that `loramerge run` left, such as dist/NAME",
            ) from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise LoramergeError(f"{artifact / RECIPE} can't be read: {why}", hint="make the artifact anew") from None
        recipe = parse(text, origin=str(artifact / RECIPE), folder=artifact)
        return cls.of(recipe, locks.read(artifact / LOCK))

    @classmethod
    def parse(cls, data: Mapping[str, Any] | None) -> Definition | None:
        """Read what `data` gave; None for anything else."""
        match data:
            case {"digest": str(digest), "recipe": dict(recipe), "lock": dict(lock)}:
                try:
                    return cls(digest, recipe, Lock.model_validate(lock))
                except ValidationError:
                    return None
        return None

    def data(self) -> dict[str, Any]:
        """The definition as JSON has it."""
        lock = self.lock.model_dump(mode="json", exclude_none=True)
        return {"digest": self.digest, "recipe": dict(self.recipe), "lock": lock}

    def since(self, earlier: Definition) -> tuple[Difference, ...]:
        """What is different from an earlier definition; nothing where an artifact would be the same.

        A licence or a card that becomes unknown while nothing else of its source changed is no difference: offline,
        nobody says under which licence, and with which card, a commit was published.
        """
        found = [Difference("recipe changed", each) for each in _differing_settings(earlier.recipe, self.recipe)]
        if not found and earlier.digest != self.digest:
            found.append(Difference("recipe changed", "its comments, its layout or its search"))
        # what a changed recipe says of its sources is in its lock as well, and need not be said twice
        said = ("source", "revision", "") if found else ()
        moved = [each for each in changes(earlier.lock, self.lock) if each.what not in said]
        real = {each.where for each in moved if each.what not in _FROM_CARDS or each.now is not None}
        return (*found, *(Difference("lock moved", str(each)) for each in moved if each.where in real))


def _differing_settings(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before, after = dict(_flat(earlier, "")), dict(_flat(now, ""))
    for key in [*before, *(key for key in after if key not in before)]:
        if key not in after:
            yield f"{key} removed: it was {before[key]}"
        elif key not in before:
            yield f"{key} added: {after[key]}"
        elif before[key] != after[key]:
            yield f"{key} from {before[key]} to {after[key]}"


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every scalar by its dotted key; elements of a list by their names, where they have such."""
    if isinstance(value, Mapping):
        entries = [(str(name), each) for name, each in value.items()]
    elif isinstance(value, list | tuple):
        entries = [(_element_name(each, index), each) for index, each in enumerate(value)]
    else:
        yield key, value
        return
    for name, each in entries:
        yield from _flat(each, f"{key}.{name}" if key else name)


def _element_name(element: Any, index: int) -> str:
    return str(element.get("name", index)) if isinstance(element, Mapping) else str(index)
