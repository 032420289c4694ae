"""What pydantic found wrong, in plain words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loramerge.documents import yaml_document
from loramerge.documents.expected import Expected, Place, Schema, choices
from loramerge.documents.problems import KeyPath, Mistake, did_you_mean
from loramerge.documents.suggestions import instead_of
from loramerge.messages import any_of, shortened
from loramerge.sources.source import shown

_LONGEST = 60


def mistakes(error: ValidationError, schema: Schema, written: Callable[[KeyPath], str | None]) -> Iterator[Mistake]:
    """Put pydantic's errors into words.

    Args:
        error: From parsing plain data.
        schema: JSON Schema of the model.
        written: Gives a scalar as it stands in the file, if it does.
    """
    explainer = _Explainer(Expected(schema), written)
    # pydantic counts the valid elements only, and has reported the others
    errors = [each for each in error.errors(include_url=False) if each["type"] != "too_short" or not each["input"]]
    examples = [explainer.example(each) for each in errors]
    lines = yaml_document.dump({key: value for example in examples for key, value in example.items()})
    hint = "write it like this:\n  " + lines.rstrip("\n").replace("\n", "\n  ")
    for each, example in zip(errors, examples, strict=True):
        mistake = explainer.explain(each)
        yield replace(mistake, hint=hint) if example else mistake


@dataclass(frozen=True)
class _Explainer:
    expected: Expected
    written: Callable[[KeyPath], str | None]

    def explain(self, error: ErrorDetails) -> Mistake:
        location, found = error["loc"], error["input"]
        place = self.expected.place(location)
        if location and location[-1] == "[key]":  # how pydantic points at a key of a dict
            return self._wrong_key(location)
        match error["type"]:
            case "inconsistent":
                return Mistake(place.key, error["msg"])
            case "extra_forbidden":
                return Mistake(place.key, self._unknown(location), of_key=True)
            case "missing":
                return Mistake(place.key, f"missing; expected {self.expected.words(place.schema)}")
            case "union_tag_not_found" | "union_tag_invalid" if "discriminator" in place.schema:
                return self._wrong_tag(found, place)
        return Mistake(place.key, self._unexpected(found, place))

    def example(self, error: ErrorDetails) -> dict[str, Any]:
        """A key of the whole and what may stand there, where it is missing, or is no such mapping or list."""
        key, *below = error["loc"] or ("",)
        example = self.expected.examples.get(str(key))
        if below or example is None or error["type"] == "inconsistent":
            return {}
        formless = isinstance(example, dict | list) and not isinstance(error["input"], type(example))
        return {str(key): example} if formless or error["type"] == "missing" else {}

    def _wrong_key(self, location: tuple[int | str, ...]) -> Mistake:
        names = self.expected.place(location[:-2]).schema.get("propertyNames", {"type": "string"})
        key = self.expected.place(location[:-1]).key
        return Mistake(key, f"unknown key; expected {self.expected.words(names)}", of_key=True)

    def _wrong_tag(self, found: object, place: Place) -> Mistake:
        discriminator, tags = place.schema["discriminator"]["propertyName"], self.expected.members(place.schema)
        key = (*place.key, discriminator)
        given = isinstance(found, dict) and discriminator in found
        value = found[discriminator] if isinstance(found, dict) and given else None
        what = f"found {self._found(value, key)}" if given else "missing"
        return Mistake(key, f"{what}; expected {any_of(map(repr, tags))}{did_you_mean(value, tags)}")

    def _unknown(self, location: tuple[int | str, ...]) -> str:
        key, parent = str(location[-1]), self.expected.place(location[:-1])
        others = [f"`{tag}`" for tag, each in parent.variants.items() if key in self.expected.keys(each)]
        if others:
            return f"`{key}` is not a parameter of `{parent.tag}`; it is one of {', '.join(others)}"
        keys = self.expected.keys(parent.schema)
        if meant := [each for each in keys if key in each.split("_")]:
            return f"unknown key; did you mean {any_of(f'`{each}`' for each in meant)}?"
        homes = [f"`{each}`" if each else "the recipe itself" for each in self.expected.homes(key)]
        if homes:
            return f"unknown key here; it is a key of {any_of(homes)}: check the indentation"
        return "unknown key" + (did_you_mean(key, keys) or f"; expected {any_of(f'`{each}`' for each in keys)}")

    def _unexpected(self, found: object, place: Place) -> str:
        message = f"found {self._found(found, place.key)}; expected {self.expected.words(place.schema)}"
        options = choices(place.schema)
        if isinstance(found, str) and found in {str(each) for each in options}:
            return f"{message}: write {found}, without quotes"
        if options:
            return message + did_you_mean(found, map(str, options))
        if isinstance(found, str):
            return message + instead_of(found, place.schema, self.expected.types(place.schema))
        if place.schema.get("type") == "string" and isinstance(found, (int, float)):
            return f"{message}: quote it, as in '{self.written(place.key) or found}'"
        return message

    def _found(self, value: object, key: KeyPath) -> str:
        if value is None or isinstance(value, bool):
            return {None: "nothing", True: "true", False: "false"}[value]
        if isinstance(value, (int, float)):
            return f"the number {shortened(self.written(key) or str(value), _LONGEST)}"
        if isinstance(value, str):
            return f"the text {shortened(shown(value), _LONGEST)!r}" if value else "empty text"
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
