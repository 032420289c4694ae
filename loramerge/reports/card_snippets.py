"""How to load each output of an artifact, and how to check it, in code that runs as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from loramerge.families import REPOSITORIES
from loramerge.formats.loading import Address, Facts, Snippet, arguments

if TYPE_CHECKING:
    from loramerge.recipe import Recipe


def snippets(recipe: Recipe, report: Mapping[str, Any]) -> Iterator[Snippet]:
    """One or more for each output.

    Args:
        recipe: Names outputs and targets.
        report: As in report.json.
    """
    facts = Facts(
        recipe=recipe.name,
        base=_base(recipe, report),
        components=list(report["fidelity"]),
        loras={lora["name"]: list(lora["modules"]) for lora in report["loras"]},
    )
    for output in recipe.outputs:
        yield from output.snippets(_place(recipe, output.folder), facts)


def verification(recipe: Recipe) -> str:
    """The command that checks an artifact: where it is published first, or in the folder of the card."""
    return f"loramerge verify {next((target.reference for target in recipe.publish if target.reference), '.')}"


def base_id(recipe: Recipe) -> str | None:
    """`owner/name` of a base on the Hub."""
    source = recipe.base.source or ""
    return "/".join(source.removeprefix("hf://").split("/")[:2]) if source.startswith("hf://") else None


def _place(recipe: Recipe, output: str) -> Address:
    """The first target from which others can load the output, or else the folder of the card."""
    places = (target.place(output, recipe.folders) for target in recipe.publish)
    return next((place for place in places if place is not None), Address(None, None, output))


def _base(recipe: Recipe, report: Mapping[str, Any]) -> str:
    """The base at the commit that was used."""
    options = {"revision": report["base"]["revision"], "variant": recipe.base.variant}
    given = {key: value for key, value in options.items() if value}
    place = base_id(recipe) or recipe.base.source or REPOSITORIES[recipe.base.family or ""]
    return f"pipeline = DiffusionPipeline.from_pretrained({arguments(place, **given)})"
