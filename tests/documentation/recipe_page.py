"""The recipe reference: every key that a recipe may have, from the JSON Schema that the models give."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from documentation.commands_page import NOTE

from loramerge.recipe.schema import schema

Node = Mapping[str, Any]

ABOUT = """\
Every key of a recipe. [Recipes](../recipe.md) shows how they are used. An unknown key is an error, and no value is
converted: `rank: "16"` is a text, not a number."""
_SIMPLE = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}
_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("multipleOf", "a multiple of {}"),
    ("minItems", "at least {} of them"),
    ("maxLength", "at most {} characters"),
)
_LARGEST = 2**63 - 1  # says nothing to a reader
_FEW = 2


@dataclass(frozen=True)
class Section:
    """A mapping in a recipe.

    Attributes:
        place: Its key, such as `loras[].weight`; empty for the recipe itself.
        about: What it is.
        members: What may stand there: one definition, or several that a key tells apart.
    """

    place: str
    about: str
    members: tuple[Node, ...]

    @property
    def link(self) -> str:
        """As GitHub and MkDocs name the anchor of a heading."""
        return f"[`{self.place}`](#{re.sub(r'[^a-z0-9_-]', '', self.place)})"


class Page:
    """The page, section by section as the keys of the recipe lead to them."""

    def __init__(self, whole: Node) -> None:
        self.definitions: Node = whole["$defs"]
        self.waiting = deque([Section("", "The keys at the top of a recipe.", (whole,))])
        self.below: list[Section] = []
        self.places: dict[int, Section] = {}
        self.sections: list[Section] = []

    def text(self) -> str:
        """All of it."""
        parts = [
            "# Recipe reference",
            NOTE,
            ABOUT,
        ]
        while self.waiting:
            self.sections.append(self.waiting.popleft())
            parts += self._section(self.sections[-1])
            self.waiting.extendleft(reversed(self.below))
            self.below.clear()
        return "\n\n".join(parts) + "\n"

    def _section(self, section: Section) -> Iterator[str]:
        yield f"## `{section.place}`" if section.place else "## A recipe"
        yield section.about
        if len(section.members) > 1:
            yield self._kinds(section)
        yield _table(["key", "value", "default", "meaning"], list(self._rows(section)))

    def _kinds(self, section: Section) -> str:
        keys = dict.fromkeys(key for member in section.members for key in _constants(member))
        shared = set.intersection(*({*member["properties"]} for member in section.members)) | {*keys}
        rows = []
        for member in section.members:
            constants = _constants(member)
            about = [each["description"] for each in constants.values()][-1]
            own = ", ".join(f"`{key}`" for key in member["properties"] if key not in shared)
            rows.append([*(f"`{constants[key]['const']}`" if key in constants else "" for key in keys), about, own])
        return _table([*(f"`{key}`" for key in keys), "meaning", "keys of its own"], rows)

    def _rows(self, section: Section) -> Iterator[list[str]]:
        several = len(section.members) > 1
        found: dict[tuple[str, ...], list[Node]] = {}
        for member in section.members:
            for key, value in _keys_of(member).items():
                if several and "const" in value:
                    continue
                place = f"{section.place}.{key}" if section.place else key
                default = "**required**" if key in _required(member) else _default(value)
                said = self._type(value, place), default, self._meaning(value)
                shown = f"`{key}`" if key in member["properties"] else key
                found.setdefault((shown, *said), []).append(member)
        twice = [key for key, *_ in found]
        for row, members in found.items():
            some = len(members) < len(section.members) and (len(members) <= _FEW or twice.count(row[0]) > 1)
            yield [*row[:3], row[3] + (f" For {_named(members)}." if some else "")]

    def _meaning(self, value: Node) -> str:
        target = self.definitions[_name(value["$ref"])] if "$ref" in value else {}
        limits = "; ".join(_limits(value))
        return str(value.get("description", target.get("description", ""))) + (
            f" {limits[0].upper()}{limits[1:]}." if limits else ""
        )

    def _type(self, node: Node, place: str) -> str:
        if members := self._members(node):
            return self._found(node, place, members).link
        if options := [each for each in _options(node) if each.get("type") != "null"]:
            return " or ".join(dict.fromkeys(self._type(each, place) for each in options))
        if "const" in node or "enum" in node:
            return ", ".join(f"`{each}`" for each in node.get("enum", [node.get("const")]))
        values = node.get("patternProperties", {"": node.get("additionalProperties")}).values()
        if named := [value for value in values if isinstance(value, dict)]:
            name = node.get("propertyNames", {}).get("patternErrorMessage", "names")
            return f"mapping of {name} to: {self._type(named[0], place)}"
        if node["type"] == "array":
            return f"list of {_several(self._type(node['items'], f'{place}[]'))}"
        return _SIMPLE[node["type"]]

    def _members(self, node: Node) -> tuple[Node, ...]:
        """The definitions that a node means: one by reference, several where a key tells them apart."""
        if "$ref" in node:
            meant = self.definitions[_name(node["$ref"])]
            return self._members(meant) or (meant,)  # a union may have a name of its own
        if "discriminator" in node:
            return tuple(member for each in node["oneOf"] for member in self._members(each))
        return ()

    def _found(self, node: Node, place: str, members: tuple[Node, ...]) -> Section:
        """The section about these members; the first place that leads to them names it."""
        if id(members[0]) not in self.places:
            about = str(node.get("description") or members[0]["description"])
            if len(members) > 1:
                about = "One of these kinds, each with keys of its own."
            self.places[id(members[0])] = Section(place, about, members)
            self.below.append(self.places[id(members[0])])
        return self.places[id(members[0])]


def recipe_keys(whole: Node | None = None) -> str:
    """A row for each mapping in a recipe: its keys with their defaults, in bold those that must be there.

    Args:
        whole: A JSON Schema; by default that of recipes.
    """
    page = Page(whole or schema())
    page.text()
    rows = [
        [f"`{section.place}`" if section.place else "a recipe", ", ".join(_keys(section))] for section in page.sections
    ]
    return _table(["in", "keys"], rows)


def _keys(section: Section) -> Iterator[str]:
    """`**key**`, `key` or `key: default`, each once; a key of several kinds has the default of the first."""
    found: dict[str, str] = {}
    for member in section.members:
        for key, value in _keys_of(member).items():
            if key in _required(member):
                found.setdefault(key, f"**`{key}`**")
            elif key not in member["properties"]:
                found.setdefault(key, key)
            else:
                default = _default(value)
                found.setdefault(key, f"`{key}`" if default == "none" else f"`{key}: {default.strip('`')}`")
    yield from found.values()


def _keys_of(member: Node) -> dict[str, Node]:
    """Its keys, and in words those that it leaves to the user."""
    others = member.get("additionalProperties") or {}
    return member["properties"] | ({others["title"]: others} if others else {})


def recipe_page() -> str:
    """The page about every key of a recipe."""
    return Page(schema()).text()


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _required(member: Node) -> set[str]:
    """The keys that must be there; of a recipe those that no file beside it gives."""
    return {*member.get("required", ()), *member.get("then", {}).get("required", ())}


def _options(node: Node) -> Sequence[Node]:
    options: Sequence[Node] = node.get("anyOf", node.get("oneOf", ()))
    return options


def _constants(member: Node) -> dict[str, Node]:
    """The keys that tell a kind from the others, the outer one first."""
    return {key: value for key, value in member["properties"].items() if "const" in value}


def _named(members: Sequence[Node]) -> str:
    return ", ".join(f"`{[each['const'] for each in _constants(member).values()][-1]}`" for member in members)


def _default(value: Node) -> str:
    default = value.get("default")
    return "none" if default in (None, "", []) else f"`{json.dumps(default).strip(chr(34))}`"


def _limits(node: Node) -> Iterator[str]:
    """What a value must be like, in words; a pattern's own words stand for it."""
    whole = {**next((each for each in _options(node) if each.get("type") != "null"), {}), **node}
    if whole.get("maximum") == _LARGEST:
        del whole["maximum"]
    if "patternErrorMessage" in whole:
        yield f"Form: {whole['patternErrorMessage']}"
    elif {"minimum", "maximum"} <= whole.keys():
        yield f"From {_number(whole['minimum'])} to {_number(whole['maximum'])}"
    else:
        yield from (words.format(_number(whole[key])) for key, words in _BOUNDS if key in whole)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _several(what: str) -> str:
    return f"{what}s" if what in _SIMPLE.values() else what


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *([each.replace("|", "\\|") for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
