"""`--set loras.0.weight=0.5`: values given beside the recipe, put in before it is validated."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from loramerge.documents import yaml_document
from loramerge.documents.document import Document
from loramerge.documents.problems import KeyPath, Origin, Problem, RecipeProblemsError, did_you_mean, dotted
from loramerge.errors import UsageError
from loramerge.messages import any_of, excerpt
from loramerge.sources.source import shown

_LONGEST = 200


@dataclass(frozen=True)
class Override:
    """One `--set`.

    Attributes:
        segments: The key, split at its dots.
        value: YAML.
    """

    segments: tuple[str, ...]
    value: str

    @classmethod
    def parse(cls, text: str) -> "Override":
        """Read `KEY=VALUE`.

        Raises:
            UsageError: It is not of that form.
        """
        key, equals, value = text.partition("=")
        if not equals or not all(segments := tuple(key.strip().split("."))):
            raise UsageError(f"--set {text}: expected KEY=VALUE", hint="for example --set loras.0.weight=0.5")
        return cls(segments, value)

    @property
    def origin(self) -> Origin:
        """What problems call it."""
        return Origin(0, 0, excerpt(f"--set {'.'.join(self.segments)}={shown(self.value)}", _LONGEST))

    def apply(self, document: Document) -> None:
        """Put the value into a document; what is wrong with it joins the document's problems."""
        try:
            given = yaml_document.load(self.value, origin=self.origin.name)
            self._put(document, given)
        except RecipeProblemsError as error:
            document.problems += [replace(each, origin=self.origin, key=self.segments) for each in error.problems]

    def _put(self, document: Document, given: Document) -> None:
        path = put(document, self.segments, given.data, self.origin)
        document.replaced(path, given, origin=self.origin)


def put(document: Document, segments: Sequence[str], value: Any, origin: Origin) -> KeyPath:
    """Put a value into a document's data.

    Args:
        document: Its data is changed; what is made on the way to the key is noted, the value itself is not.
        segments: The key, split at its dots; elements of lists by number or by name.
        value: Plain data.
        origin: Where the value was given.

    Returns:
        The key.

    Raises:
        RecipeProblemsError: There is no way to the key.
    """
    holder, rest = document.data, tuple(segments)
    path: KeyPath = ()
    while True:
        try:
            step, used = _step(holder, path, rest)
        except KeyError as error:
            raise RecipeProblemsError([Problem(origin, tuple(segments), error.args[0])]) from None
        path, rest = (*path, step), rest[used:]
        if not rest:
            break
        if isinstance(holder, dict) and holder.get(step) is None:
            holder[step] = {}
            document.replaced(path, Document(), origin=origin)
        holder = holder[step]
    holder[step] = value
    return path


def _step(holder: Any, path: KeyPath, rest: Sequence[str]) -> tuple[str | int, int]:
    """The key or index of the next step, and how many segments it takes: names of LoRAs may have dots."""
    shown_path = f"`{dotted(path)}`"
    if isinstance(holder, dict):
        return rest[0], 1
    if not isinstance(holder, list):
        raise KeyError(f"{shown_path} is a value without parts, so it has no {rest[0]!r}")
    if re.fullmatch("[0-9]{1,9}", rest[0]):
        if int(rest[0]) < len(holder):
            return int(rest[0]), 1
        raise KeyError(f"{shown_path} has {len(holder)} elements, so there is no {rest[0]}; the first is 0")
    names = {str(each.get("name")): index for index, each in enumerate(holder) if isinstance(each, dict)}
    for used in range(len(rest), 0, -1):
        if (name := ".".join(rest[:used])) in names:
            return names[name], used
    expected = f"expected a number or {any_of(map(repr, names))}" if names else "expected a number"
    raise KeyError(f"{shown_path} has no element named {rest[0]!r}; {expected}{did_you_mean(rest[0], names)}")
