"""What `loramerge preview` and `loramerge grid` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from loramerge.cli import console, options
from loramerge.cli.summary import near

if TYPE_CHECKING:
    from loramerge import Previewed, Recipe
    from loramerge.cli.options import Command


def out(default: str) -> Callable[[Command], Command]:
    """`--out`: the argument `out`."""
    return click.option(
        "--out", metavar="DIR", type=options.PlaceType(), help=f"Where the pictures go; {default} if absent."
    )


def say(path: str, recipe: Recipe, done: Previewed, *, seconds: float, as_json: bool) -> None:
    """Print what was drawn.

    Args:
        path: As the command line names the recipe.
        recipe: What was drawn.
        done: What came of it.
        seconds: How long it took.
        as_json: Print one JSON document.
    """
    if as_json:
        console.document(
            {
                "recipe": path,
                "name": recipe.name,
                "folder": str(done.folder),
                "sheets": [str(sheet) for sheet in done.sheets],
                "pictures": [str(picture) for picture in done.pictures],
                "drawn": done.drawn,
                "warnings": list(done.warnings),
                "seconds": round(seconds, 1),
            }
        )
        return
    for warning in done.warnings:
        console.warning(f"{recipe.name}: {warning}")
    kept = len(done.pictures) - done.drawn
    there = f" ({kept} of them there already)" if kept else ""
    rows = [("pictures", f"{len(done.pictures)} in {near(done.folder)}{there}")]
    rows += [("sheet", near(sheet)) for sheet in done.sheets]
    rows.append(("time", f"{seconds:.1f} s"))
    console.result(f"{recipe.name}\n{console.table(rows)}")
