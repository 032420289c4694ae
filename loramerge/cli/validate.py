"""`loramerge validate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from loramerge.cli import console, options
from loramerge.cli.planning import artifact_of
from loramerge.cli.recipes import read_named, recipe_files
from loramerge.errors import ExitCode, UsageError
from loramerge.messages import some

if TYPE_CHECKING:
    from pathlib import Path

    from loramerge.cli.recipes import NamedRecipe
    from loramerge.documents.problems import Problem
    from loramerge.recipe import Recipe


@click.command(
    epilog=options.examples(
        "loramerge validate recipes",
        "loramerge validate ink-glow.yaml --set merge.combination_type=ties --set merge.density=0.5",
        "loramerge validate recipes --json | jq -r '.[].message'",
        "loramerge validate sizes.yaml --print",
    )
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@options.overrides
@click.option("--print", "printing", is_flag=True, help="Print each recipe whole: defaults, lists and --set put in.")
@options.as_json
@options.verbose
def command(
    paths: tuple[str, ...], overrides: tuple[str, ...], printing: bool, as_json: bool, verbose: bool
) -> ExitCode:
    """Check recipes and show every mistake.

    PATH is a recipe, a folder of recipes, or - for standard input. Paths of sources have to lead somewhere, or to
    what an earlier one of the recipes makes; nothing else is looked up, and nothing is downloaded. Exits with 3 when
    any recipe is invalid. --print writes those of a file with a matrix one after the other, parted by ---, as each
    would be by itself.
    """
    del verbose
    if printing and as_json:
        raise UsageError("--print writes recipes, and --json mistakes", hint="leave out one of them")
    from loramerge.documents.problems import RecipeProblemsError, hints_of

    recipes = [each for path in recipe_files(paths) for each in read_named(path, overrides, locks=False)]
    printed: list[str] = []
    problems: list[Problem] = []
    names: dict[str, str] = {}
    for place, given in enumerate(recipes):
        found: Sequence[Problem]
        waits = ""
        if isinstance(given.error, RecipeProblemsError):
            found = given.error.problems
        else:
            recipe = given.readable()
            missing, waits = _missing(recipe, recipes[:place], recipes[place + 1 :])
            found = [*_named_twice(recipe, given.path, names), *missing]
        problems += found
        if found and not as_json:
            console.error("\n".join(map(str, found)), hints_of(found))
        elif printing:
            printed.append(given.readable().text.removeprefix("---\n").rstrip("\n") + "\n")
        elif not as_json:
            console.result(f"{given.path}: ok{waits}")
    if printed:
        click.echo("---\n".join(printed), nl=False)
    if as_json:
        console.document([_as_data(problem) for problem in problems])
    return ExitCode.INVALID_RECIPE if problems else ExitCode.DONE


def _named_twice(recipe: Recipe, path: str, names: dict[str, str]) -> Iterator[Problem]:
    """Two recipes of one name have one artifact."""
    from loramerge.documents.problems import Origin, Problem

    if (earlier := names.setdefault(recipe.name, path)) != path:
        message = f"{earlier} is called {recipe.name} already: one would replace the other's artifact; rename one"
        yield Problem(Origin(0, 0, path), ("name",), message)


def _missing(recipe: Recipe, earlier: Sequence[NamedRecipe], later: Sequence[NamedRecipe]) -> tuple[list[Problem], str]:
    """Sources that are not there, and what is to be said of those that a run of the recipes before makes."""
    from loramerge.documents.problems import Problem
    from loramerge.recipe.missing import missing_sources

    problems, makers = [], []
    for each in missing_sources(recipe):
        if maker := _maker(each.path, earlier):
            makers.append(maker)
        elif maker := _maker(each.path, later):
            after = f"{each.problem.message}; {maker} makes it, and comes after this recipe: name it first"
            problems.append(Problem(each.problem.origin, each.problem.key, after))
        else:
            problems.append(each.problem)
    return problems, f"; uses what {some(dict.fromkeys(makers))} makes" if makers else ""


def _maker(path: Path, recipes: Sequence[NamedRecipe]) -> str | None:
    """The recipe that makes what is to lie at a path."""
    from loramerge.stages.together import makers

    runs = ((each.path, each.recipe, artifact_of(each.recipe)) for each in recipes if each.recipe)
    return next(makers([path], runs), None)


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
