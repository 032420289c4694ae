"""What pydantic found wrong, in plain words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loramerge.documents.expected import Expected, Place, Schema, choices
from loramerge.documents.problems import KeyPath, did_you_mean, either
from loramerge.sources.source import shown

_LONGEST = 60


@dataclass(frozen=True)
class Mistake:
    """One mistake: its key, what is wrong, and whether the key itself is wrong or else its value."""

    key: KeyPath
    message: str
    of_key: bool = False


def mistakes(error: ValidationError, schema: Schema, written: Callable[[KeyPath], str | None]) -> Iterator[Mistake]:
    """Put pydantic's errors into words.

    Args:
        error: From parsing plain data.
        schema: JSON Schema of the model.
        written: Gives a scalar as it stands in the file, if it does.
    """
    explainer = _Explainer(Expected(schema), written)
    for each in error.errors(include_url=False):
        if each["type"] == "too_short" and each["input"]:
            continue  # pydantic counts the valid elements only, and has reported the others
        yield explainer.explain(each)


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
        return Mistake(key, f"{what}; expected {either(map(repr, tags))}{did_you_mean(value, tags)}")

    def _unknown(self, location: tuple[int | str, ...]) -> str:
        key, parent = str(location[-1]), self.expected.place(location[:-1])
        others = [f"`{tag}`" for tag, each in parent.variants.items() if key in self.expected.keys(each)]
        if others:
            return f"`{key}` is not a parameter of `{parent.tag}`; it is one of {', '.join(others)}"
        keys = self.expected.keys(parent.schema)
        return "unknown key" + (did_you_mean(key, keys) or f"; expected {either(f'`{each}`' for each in keys)}")

    def _unexpected(self, found: object, place: Place) -> str:
        message = f"found {self._found(found, place.key)}; expected {self.expected.words(place.schema)}"
        options = choices(place.schema)
        if options:
            return message + did_you_mean(found, map(str, options))
        if place.schema.get("type") == "string" and isinstance(found, (int, float)):
            return f"{message}: quote it, as in '{self.written(place.key) or found}'"
        return message

    def _found(self, value: object, key: KeyPath) -> str:
        if value is None or isinstance(value, bool):
            return {None: "nothing", True: "true", False: "false"}[value]
        if isinstance(value, (int, float)):
            return f"the number {_shortened(self.written(key) or str(value))}"
        if isinstance(value, str):
            return f"the text {_shortened(shown(value))!r}" if value else "empty text"
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
