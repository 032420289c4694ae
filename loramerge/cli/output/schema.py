"""The JSON Schema of what commands print under `--json`, on success and on failure."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from loramerge.cli.output.artifacts import DrawnPictures, UnverifiedArtifact, VerifiedArtifact
from loramerge.cli.output.failures import ErrorDocument
from loramerge.cli.output.loras import ConvertedLoraFile, FailedInspection, InspectedLora, MergedLoraFile
from loramerge.cli.output.plans import PlanEntry
from loramerge.cli.output.recipes import LockEntry, ProblemEntry, StrayLockFound
from loramerge.cli.output.runs import PublishEntry, RunEntry
from loramerge.cli.output.tuned import TunedRecipe
from loramerge.recipe.schema import Generator

FILE = "output.schema.json"
_PLACE = "#/$defs/{model}"

DOCUMENTS: dict[str, tuple[Any, str]] = {
    "merge": (MergedLoraFile, "The LoRA."),
    "resize": (MergedLoraFile, "The LoRA."),
    "extract": (MergedLoraFile, "The LoRA."),
    "convert": (ConvertedLoraFile, "The LoRA."),
    "run": (list[RunEntry], "One entry for each recipe, then for what was pruned and for stray locks."),
    "plan": (list[PlanEntry], "One entry for each recipe, then for what is orphaned and for stray locks."),
    "preview": (DrawnPictures, "The pictures."),
    "grid": (DrawnPictures, "The pictures."),
    "tune": (TunedRecipe, "What was found."),
    "validate": (list[ProblemEntry], "One entry for each mistake; none where all is well."),
    "lock": (list[LockEntry | StrayLockFound], "One entry for each recipe, then for stray locks."),
    "publish": (list[PublishEntry], "One entry for each recipe."),
    "verify": (list[VerifiedArtifact | UnverifiedArtifact], "One entry for each artifact."),
    "inspect": (list[InspectedLora | FailedInspection], "One entry for each LoRA."),
}
"""Command → what it prints where it could begin, and that in words. Otherwise it is an `ErrorDocument`."""


@cache
def schema() -> dict[str, Any]:
    """The schema, draft 2020-12: any document, and under `$defs` that of each command by its name."""
    definitions: dict[str, Any] = {}
    commands: dict[str, Any] = {}
    for name, (model, said) in DOCUMENTS.items():
        found = TypeAdapter(model | ErrorDocument).json_schema(schema_generator=Generator, ref_template=_PLACE)
        definitions |= found.pop("$defs", {})
        commands[name] = {"description": f"{said} Where nothing could be begun: why.", **found}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "loramerge --json",
        "description": "What commands print under --json: one document, whatever happens.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in commands],
        "$defs": {**commands, **dict(sorted(definitions.items()))},
    }


def text() -> str:
    """The schema as a file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
