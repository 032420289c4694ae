"""What a recipe may have at each place, read from its JSON Schema and put into words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loramerge.documents.problems import KeyPath
from loramerge.messages import any_of, some

Schema = Mapping[str, Any]
_MOST = 20  # values that are listed in an error


@dataclass(frozen=True)
class Place:
    """A place in a recipe.

    Attributes:
        key: The way to it.
        schema: What is expected there.
        variants: Inside a union: all its members by tag.
        tag: The tag of the member that is here.
    """

    key: KeyPath
    schema: Schema
    variants: Mapping[str, Schema] = field(default_factory=dict)
    tag: str = ""


@dataclass(frozen=True)
class Expected:
    """A JSON Schema as pydantic generates it."""

    root: Schema

    def place(self, location: tuple[int | str, ...]) -> Place:
        """Follow a location of pydantic's, which names the members of unions as if they were keys."""
        place = Place((), self.root)
        for segment in location:
            here = self.narrow(place.schema)
            members = self.members(here)
            if isinstance(segment, str) and segment in members:
                place = Place(place.key, members[segment], place.variants or self._leaves(members), segment)
            else:
                place = Place((*place.key, segment), _child(here, segment))
        return Place(place.key, self.narrow(place.schema), place.variants, place.tag)

    def narrow(self, schema: Schema) -> Schema:
        """Follow references, and leave out null where there is one alternative to it."""
        while True:
            members = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
            if "$ref" in schema:
                schema = self.root["$defs"][schema["$ref"].rpartition("/")[2]]
            elif len(members) == 1:
                schema = members[0]
            else:
                return schema

    def members(self, schema: Schema) -> dict[str, Schema]:
        """The members of a union by their tags, which are JSON types where there is no discriminator."""
        if "discriminator" in schema:
            mapping = schema["discriminator"]["mapping"]
            return {tag: {"$ref": each} if isinstance(each, str) else each for tag, each in mapping.items()}
        members = [self.narrow(each) for each in schema.get("oneOf", ())]
        return {each["type"]: each for each in members if "type" in each}

    @property
    def examples(self) -> dict[str, Any]:
        """What may stand at each key of the whole, where the schema has an example of it."""
        return {key: each["examples"][0] for key, each in self.root["properties"].items() if each.get("examples")}

    def types(self, schema: Schema) -> list[str]:
        """The JSON types of what may stand there, where the schema names them."""
        schema = self.narrow(schema)
        return list(self.members(schema)) or [schema["type"]] if "type" in schema or "oneOf" in schema else []

    def homes(self, key: str) -> list[str]:
        """The keys of the whole below which, one step down, a key can stand; empty for the whole itself."""
        found = [""] if key in self.keys(self.root) else []
        for name, schema in self.root["properties"].items():
            here = self.narrow(schema)
            here = self.narrow(here["items"]) if "items" in here else here
            if any(key in self.keys(each) for each in (here, *self._leaves(self.members(here)).values())):
                found.append(name)
        return found

    def keys(self, schema: Schema) -> list[str]:
        """The keys that a mapping may have."""
        return list(self.narrow(schema).get("properties", {}))

    def words(self, schema: Schema) -> str:
        """What a schema asks for."""
        schema = self.narrow(schema)
        if "patternErrorMessage" in schema:
            return str(schema["patternErrorMessage"])
        if options := choices(schema):
            return any_of(map(repr, options)) if len(options) <= _MOST else f"one of {some(map(repr, options))}"
        if "discriminator" in schema:
            return f"a mapping with `{schema['discriminator']['propertyName']}`"
        if members := self.members(schema):
            return any_of(map(self.words, members.values()))
        wording = self._typed.get(schema.get("type", ""))
        return wording(schema) if wording else "something else"

    def _leaves(self, members: Mapping[str, Schema]) -> dict[str, Schema]:
        leaves: dict[str, Schema] = {}
        for tag, member in members.items():
            nested = self.narrow(member)
            leaves |= self._leaves(self.members(nested)) if "discriminator" in nested else {tag: nested}
        return leaves

    @property
    def _typed(self) -> dict[str, Callable[[Schema], str]]:
        return {
            "string": lambda schema: "text that is not empty" if schema.get("minLength") else "text",
            "integer": lambda schema: f"a whole number{_bounds(schema)}",
            "number": lambda schema: f"a number{_bounds(schema)}",
            "boolean": lambda _: "true or false",
            "array": lambda schema: "a list that is not empty" if schema.get("minItems") else "a list",
            "object": self._mapping,
        }

    def _mapping(self, schema: Schema) -> str:
        keys = self.keys(schema)
        return f"a mapping of {', '.join(f'`{key}`' for key in keys)}" if keys else "a mapping"


def choices(schema: Schema) -> list[Any]:
    """The values that a schema admits, where it lists them."""
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _child(schema: Schema, segment: int | str) -> Schema:
    if isinstance(segment, int):
        child = schema.get("items")
    else:
        others = (*schema.get("patternProperties", {}).values(), schema.get("additionalProperties"))
        child = schema.get("properties", {}).get(segment) or next(iter(others), None)
    return child if isinstance(child, dict) else {}


def _bounds(schema: Schema) -> str:
    low, high, above = schema.get("minimum"), schema.get("maximum"), schema.get("exclusiveMinimum")
    said = [
        f"above {_number(above)}" if above is not None else "",
        f"{'from' if high is not None else 'of at least'} {_number(low)}" if low is not None else "",
        f"{'to' if low is not None else 'and at most'} {_number(high)}" if high is not None else "",
        f"and a multiple of {schema['multipleOf']}" if "multipleOf" in schema else "",
    ]
    return "".join(f" {each}" for each in said if each)


def _number(number: float) -> str:
    return str(int(number) if number == int(number) else number)
