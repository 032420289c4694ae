"""`loramerge validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loramerge.cli import console, options
from loramerge.cli.recipes import recipe_files
from loramerge.errors import ExitCode

if TYPE_CHECKING:
    from loramerge.documents.problems import Problem


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

    PATH is a recipe, a folder of recipes, or - for standard input. Nothing is looked up or downloaded. Exits with 3
    when any recipe is invalid.
    """
    del verbose
    from loramerge import read_recipe
    from loramerge.documents.problems import RecipeProblemsError

    problems: list[Problem] = []
    for path in recipe_files(paths):
        try:
            read_recipe(path, overrides=overrides)
        except RecipeProblemsError as error:  # noqa: PERF203  every recipe's mistakes are wanted
            problems += error.problems
            if not as_json:
                console.error(error.message)
        else:
            if not as_json:
                console.result(f"{path}: ok")
    if as_json:
        console.document([_as_data(problem) for problem in problems])
    return ExitCode.INVALID_RECIPE if problems else ExitCode.DONE


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
