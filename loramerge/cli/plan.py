"""`loramerge plan`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress
from loramerge.cli.boundary import Failure, failure
from loramerge.cli.recipes import NamedRecipe, read_each, recipe_files, refuse_several
from loramerge.errors import ExitCode, UsageError, common

if TYPE_CHECKING:
    from loramerge import Plan

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
    asked = [_planned(each, settings, quiet=as_json, verbose=verbose) for each in recipes]
    if as_json:
        console.document([each.data for each in asked])
    else:
        rows = [row for each in asked for row in each.rows]
        console.result(_in_markdown(rows) if markdown else console.table([[each.upper() for each in _HEAD], *rows], ""))
    for note in (note for each in asked if each.plan and not as_json for note in each.plan.notes):
        console.warning(note)
    for each in asked:
        if each.failure and not as_json:
            console.error(each.failure.message, each.failure.hint)
    if failures := [each.failure.code for each in asked if each.failure]:
        return common(failures)
    return ExitCode.CHANGES_PENDING if any(each.pending for each in asked) else ExitCode.DONE


@dataclass(frozen=True)
class _Planned:
    given: NamedRecipe
    plan: Plan | None = None
    failure: Failure | None = None

    @property
    def pending(self) -> bool:
        return self.plan is not None and self.plan.pending

    @property
    def rows(self) -> Iterator[tuple[str, ...]]:
        """A line for each reason; what the line above says is not said again."""
        from loramerge.cli.summary import near

        name = self.given.name or self.given.path
        if self.plan is None:
            yield name, "", "error", self.failure.message.splitlines()[0] if self.failure else ""
            return
        for step in self.plan.steps:
            first: tuple[str, str] = (step.place if "://" in step.place else near(Path(step.place)), step.action)
            for reason in step.reasons:
                yield name, *first, str(reason)
                name, first = "", ("", "")

    @property
    def data(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"recipe": self.given.path, "name": self.given.name, "pending": self.pending}
        if self.plan is None:
            return facts | {"error": self.failure.data if self.failure else None}
        artifact, *targets = [
            {
                "place": step.place,
                "action": step.action,
                "reasons": [{"kind": reason.kind, "detail": reason.detail} for reason in step.reasons],
            }
            for step in self.plan.steps
        ]
        return facts | {"artifact": artifact, "targets": targets}


def _planned(given: NamedRecipe, settings: Mapping[str, Any], *, quiet: bool, verbose: bool) -> _Planned:
    from loramerge import plan

    try:
        recipe = given.readable()
        with progress.shown(recipe.name, as_json=quiet) as watcher:
            return _Planned(given, plan(recipe, lock=given.lock, progress=watcher, **settings))
    except Exception as error:  # noqa: BLE001  whatever it is, the other recipes are planned
        return _Planned(given, failure=failure(error, verbose=verbose))


def _in_markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [_HEAD, ["---"] * len(_HEAD), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text that is nothing but text in a table: names come from recipes and repositories of others."""
    return re.sub(r"([\\|`*_\[\]#@])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
