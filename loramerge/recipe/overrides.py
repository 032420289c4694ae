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
        holder, rest = document.data, self.segments
        path: KeyPath = ()
        while True:
            step, used = self._step(holder, path, rest)
            path, rest = (*path, step), rest[used:]
            if not rest:
                break
            if isinstance(holder, dict) and holder.get(step) is None:
                holder[step] = {}
                document.replaced(path, Document(), origin=self.origin)
            holder = holder[step]
        holder[step] = given.data
        document.replaced(path, given, origin=self.origin)

    def _step(self, holder: Any, path: KeyPath, rest: Sequence[str]) -> tuple[str | int, int]:
        """The key or index of the next step, and how many segments it takes: names of LoRAs may have dots."""
        if isinstance(holder, dict):
            return rest[0], 1
        if not isinstance(holder, list):
            raise self._refusal(path, f"is a value without parts, so it has no {rest[0]!r}")
        if re.fullmatch("[0-9]{1,9}", rest[0]):
            if int(rest[0]) < len(holder):
                return int(rest[0]), 1
            raise self._refusal(path, f"has {len(holder)} elements, so there is no {rest[0]}; the first is 0")
        names = {str(each.get("name")): index for index, each in enumerate(holder) if isinstance(each, dict)}
        for used in range(len(rest), 0, -1):
            if (name := ".".join(rest[:used])) in names:
                return names[name], used
        expected = f"expected a number or {any_of(map(repr, names))}" if names else "expected a number"
        raise self._refusal(path, f"has no element named {rest[0]!r}; {expected}{did_you_mean(rest[0], names)}")

    def _refusal(self, path: KeyPath, message: str) -> RecipeProblemsError:
        return RecipeProblemsError([Problem(self.origin, self.segments, f"`{dotted(path)}` {message}")])
