"""`loramerge plan`."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options
from loramerge.cli.orphans import look
from loramerge.cli.planning import planned_together
from loramerge.cli.recipes import read_each, recipe_files, refuse_several, unlocked
from loramerge.cli.stray_locks import stray_locks
from loramerge.errors import ExitCode, UsageError, common

if TYPE_CHECKING:
    from loramerge.cli.boundary import Failure
    from loramerge.cli.orphans import Orphaned
    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.stray_locks import StrayLock

_HEAD = ("recipe", "place", "action", "reason")


@click.command(
    epilog=options.examples(
        "loramerge plan recipes",
        "loramerge plan ink-glow.yaml --set loras.0.weight=0.5",
        "loramerge plan recipes --json | jq -r '.[].targets[].reasons[].kind'",
        'loramerge plan recipes --markdown >> "$GITHUB_STEP_SUMMARY"',
    )
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--out", metavar="DIR", type=options.PlaceType(), help="Where the artifact goes, as for run.")
@options.overrides
@click.option("--no-publish", is_flag=True, help="Leave the recipe's targets alone, as run does.")
@click.option("--signed", is_flag=True, help="Plan for run --sign: what has no signature is to be signed.")
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
@options.verify_inputs
@options.as_json
@options.verbose
def command(
    paths: tuple[str, ...],
    out: str | None,
    overrides: tuple[str, ...],
    markdown: bool,
    **given: Any,
) -> ExitCode:
    """Say what run would build and publish, and why.

    PATH is a recipe, a folder of recipes, or - for standard input. Each recipe and its lock are compared with the
    last artifact and with what is live at every target: new, recipe changed, lock moved, drifted (somebody changed
    what was published), or up to date. Nothing is written, no weights are downloaded from a Hub, and no token is
    needed but to read what is private. Exits with 2 when changes are pending, with 0 when there are none, and with
    the code of the failures where a recipe can't be planned.
    """
    as_json, verbose = given["as_json"], given["verbose"]
    if markdown and as_json:
        raise UsageError("--markdown and --json exclude each other")
    recipes = read_each(recipe_files(paths), overrides, locks=True)
    if out is not None:
        refuse_several(recipes, "--out")
    settings = {"out": out, "publishing": not given["no_publish"], "signing": given["signed"]}
    settings["verify_inputs"] = given["verify_inputs"]
    strays = stray_locks(paths, unlocked(recipes))
    asked = planned_together(recipes, settings, quiet=as_json, verbose=verbose)
    left, unknown = ([], None) if given["no_publish"] else look(paths, recipes, verbose=verbose)
    failures = [each.failure for each in asked if each.failure]
    if unknown is not None and not failures:  # else it is said already why a target can't be looked at
        failures.append(unknown)
    if as_json:
        found = [*(each.data for each in left), *(each.data for each in strays)]
        found += [{"recipe": None, "name": None, "error": each.data} for each in failures if each is unknown]
        nothing: dict[str, Any] = {"pending": False, "artifact": None, "targets": []}
        console.document([*(each.data for each in asked), *(each | nothing for each in found)])
    else:
        rows = [*(row for each in asked for row in each.rows), *(each.row for each in left)]
        console.result(_in_markdown(rows) if markdown else console.table([[each.upper() for each in _HEAD], *rows], ""))
        _say(asked, left, strays, failures)
    if failures:
        return common(each.code for each in failures)
    return ExitCode.CHANGES_PENDING if any(each.pending for each in asked) else ExitCode.DONE


def _say(
    asked: Sequence[PlannedRecipe],
    left: Sequence[Orphaned],
    strays: Sequence[StrayLock],
    failures: Sequence[Failure],
) -> None:
    """What is to be known besides the table."""
    if left:
        console.note("`loramerge run --prune` with the folder removes what is orphaned")
    for stray in strays:
        console.warning(stray.message)
    for note in (note for each in asked if each.plan for note in each.plan.notes):
        console.warning(note)
    for each in failures:
        console.error(each.message, each.hint)


def _in_markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [_HEAD, ["---"] * len(_HEAD), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text that is nothing but text in a table: names come from recipes and repositories of others."""
    return re.sub(r"([\\|`*_\[\]#@])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
