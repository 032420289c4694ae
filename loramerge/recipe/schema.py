"""The JSON Schema of recipes: for editors, and for checking recipes without loramerge."""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from loramerge.recipe import Recipe

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
    return {**head, **{key: value for key, value in generated.items() if key not in head}}


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
