"""`loramerge validate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from loramerge.cli import console, options
from loramerge.cli.recipes import recipe_files
from loramerge.errors import ExitCode

if TYPE_CHECKING:
    from loramerge.documents.problems import Problem
    from loramerge.recipe import Recipe


@click.command(
    epilog=options.examples(
        "loramerge validate recipes",
        "loramerge validate ink-glow.yaml --set merge.combination_type=ties --set merge.density=0.5",
        "loramerge validate recipes --json | jq -r '.[].message'",
    )
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@options.overrides
@options.as_json
@options.verbose
def command(paths: tuple[str, ...], overrides: tuple[str, ...], as_json: bool, verbose: bool) -> ExitCode:
    """Check recipes and show every mistake.

    PATH is a recipe, a folder of recipes, or - for standard input. Paths of sources have to lead somewhere; nothing
    else is looked up, and nothing is downloaded. Exits with 3 when any recipe is invalid.
    """
    del verbose
    from loramerge import read_recipe
    from loramerge.documents.problems import RecipeProblemsError, hints_of
    from loramerge.recipe.missing import missing_sources

    problems: list[Problem] = []
    names: dict[str, str] = {}
    for path in recipe_files(paths):
        found: Sequence[Problem]
        try:
            recipe = read_recipe(path, overrides=overrides)
        except RecipeProblemsError as error:
            found = error.problems
        else:
            found = [*_named_twice(recipe, path, names), *missing_sources(recipe)]
        problems += found
        if found and not as_json:
            console.error("\n".join(map(str, found)), hints_of(found))
        elif not as_json:
            console.result(f"{path}: ok")
    if as_json:
        console.document([_as_data(problem) for problem in problems])
    return ExitCode.INVALID_RECIPE if problems else ExitCode.DONE


def _named_twice(recipe: Recipe, path: str, names: dict[str, str]) -> Iterator[Problem]:
    """Two recipes of one name have one artifact."""
    from loramerge.documents.problems import Origin, Problem

    if (earlier := names.setdefault(recipe.name, path)) != path:
        message = f"{earlier} is called {recipe.name} already: one would replace the other's artifact; rename one"
        yield Problem(Origin(0, 0, path), ("name",), message)


def _as_data(problem: Problem) -> dict[str, object]:
    from loramerge.documents.problems import dotted

    origin = problem.origin
    return {
        "file": origin.name,
        "line": origin.line or None,
        "column": origin.column or None,
        "key": dotted(problem.key),
        "message": problem.message,
    }
