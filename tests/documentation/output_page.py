"""docs/reference/output.md: what every command prints under --json, from its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from documentation.commands_page import NOTE

from loramerge.cli.output.schema import DOCUMENTS, schema

ABOUT = """\
With `--json` a command prints one JSON document on standard output, and nothing else, whatever happens. Where nothing
could be begun (wrong usage, a recipe that can't be read) it is [an error](#errordocument). Commands that take several
things print a list with an entry for each. One that failed has `error`; those before it, and those after it that were
done as well, are in the list. The exit code is as without `--json`.

`loramerge schema output` prints the [JSON Schema](../../schemas/output.schema.json). The document of a command is in it
under `$defs`, by the command's name. Keys without a mark are always there."""


def output_page() -> str:
    """The page."""
    definitions = schema()["$defs"]
    parts = ["# Output as JSON", NOTE, ABOUT, "\n".join(_commands(definitions))]
    for name, definition in definitions.items():
        if name not in DOCUMENTS and "properties" in definition:
            parts += [f"## {name}", definition["description"], "\n".join(_keys(definition))]
    return "\n\n".join(parts) + "\n"


def _commands(definitions: dict[str, Any]) -> Iterator[str]:
    yield "| command | document | |"
    yield "| --- | --- | --- |"
    for name, (_, said) in DOCUMENTS.items():
        document = next(
            each for each in definitions[name]["anyOf"] if not each.get("$ref", "").endswith("ErrorDocument")
        )
        yield f"| `{name}` | {_type(document)} | {said} |"


def _keys(definition: dict[str, Any]) -> Iterator[str]:
    yield "| key | type | |"
    yield "| --- | --- | --- |"
    required = definition.get("required", ())
    for key, value in definition["properties"].items():
        mark = "" if key in required else " (where it applies)"
        yield f"| `{key}`{mark} | {_type(value)} | {value['description'].replace('|', chr(92) + '|')} |"


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in value or "enum" in value:
        found = value.get("enum", [value.get("const")])
        return ", ".join(f"`{str(each).lower() if isinstance(each, bool) else each}`" for each in found)
    if inside := value.get("anyOf") or value.get("oneOf"):
        return " or ".join(_type(each) for each in inside)
    if value["type"] == "array":
        return f"list of {_type(value['items'])}"
    if value["type"] == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"mapping to {_type(value['additionalProperties'])}"
    return str(value["type"])
