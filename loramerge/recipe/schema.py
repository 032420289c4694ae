"""The JSON Schema of recipes: for editors, and for checking recipes without loramerge."""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from loramerge.recipe import Recipe
from loramerge.recipe.matrix import MATRIX
from loramerge.recipe.neighbours import DEFAULTS, INCLUDE

FILE = "recipe.schema.json"


class Generator(GenerateJsonSchema):
    """Leaves out the titles that pydantic derives from names: they repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  pydantic's signature
        """Never."""
        return False


def schema() -> dict[str, Any]:
    """The schema of a recipe, draft 2020-12."""
    generated = Recipe.model_json_schema(schema_generator=Generator)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "loramerge recipe",
        "description": "What is merged, how, and what becomes of it.",
    }
    generated["$defs"] = {name: _explained(definition) for name, definition in generated["$defs"].items()}
    return {**head, **{key: value for key, value in _in_the_plural(generated).items() if key not in head}}


def _in_the_plural(generated: dict[str, Any]) -> dict[str, Any]:
    """The same with what is put in before a recipe is checked: defaults, lists of LoRAs, a matrix."""
    properties = generated["properties"]
    name, loras = properties["name"], properties["loras"]
    template = {"type": "string", "pattern": r"\{[^{}]+\}", "description": "With the matrix's axes in braces."}
    beside = {
        "type": "string",
        "pattern": r"^[^/\\]+\.ya?ml$",
        "patternErrorMessage": "the name of a YAML file in the recipe's folder",
    }
    generated["$defs"]["IncludedLoras"] = {
        "description": "The LoRAs of a list beside the recipe.",
        "type": "object",
        "properties": {
            INCLUDE: {**beside, "description": "In the place of a LoRA: a file beside the recipe with a list of them."}
        },
        "required": [INCLUDE],
        "additionalProperties": False,
    }
    value = {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]}
    axis = {
        "anyOf": [
            {
                "type": "array",
                "minItems": 1,
                "items": value,
                "description": "Values of the key that the axis is called.",
            },
            {
                "type": "object",
                "minProperties": 1,
                "description": "Labels: each with a value, or with keys and values.",
            },
        ]
    }
    generated["properties"] = {
        **properties,
        "name": {**{key: name[key] for key in ("description", "examples")}, "anyOf": [_unexplained(name), template]},
        "loras": {**loras, "items": {"anyOf": [loras["items"], {"$ref": "#/$defs/IncludedLoras"}]}},
        DEFAULTS: {
            **beside,
            "description": "A file beside the recipe whose keys hold where it has none; null leaves one out.",
            "examples": ["common.yaml"],
        },
        MATRIX: {
            "description": "Axes with values: the file stands for a recipe of each combination.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": axis,
            "examples": [{"loras.ink.weight": [0.5, 1]}],
        },
    }
    required = generated["required"]
    several = {"anyOf": [{"required": [DEFAULTS]}, {"required": [MATRIX]}]}
    return {**generated, "required": ["name"], "if": {"not": several}, "then": {"required": required}}


def _unexplained(name: dict[str, Any]) -> dict[str, Any]:
    """A schema without what explains it."""
    return {key: value for key, value in name.items() if key not in ("description", "examples")}


def _explained(definition: dict[str, Any]) -> dict[str, Any]:
    """Shortens a class's docstring to its first paragraph, which also explains the key that names the class."""
    if "properties" not in definition:  # a union
        return definition
    summary = " ".join(definition["description"].partition("\n\n")[0].split())
    properties = {
        key: {"description": summary, **value} if "const" in value else value
        for key, value in definition["properties"].items()
    }
    return {**definition, "description": summary, "properties": properties}


def text() -> str:
    """The schema as a file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> Path:
    """Write the schema into a folder, which is made if need be; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    file.write_text(text(), encoding="utf-8", newline="\n")
    return file
