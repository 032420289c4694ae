"""`loramerge lock`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress
from loramerge.cli.each import each_of
from loramerge.cli.locks import has_lock, lock_beside, recipes_of_locks
from loramerge.cli.recipes import read_all, recipe_files
from loramerge.cli.stray_locks import stray_locks
from loramerge.errors import ExitCode, InvalidRecipeError, UsageError, common

if TYPE_CHECKING:
    from loramerge import Lock, Recipe


@click.command(
    epilog=options.examples(
        "loramerge lock recipes",
        "loramerge lock ink-glow.yaml --check",
        "loramerge lock recipes --check --if-locked",
        "loramerge lock recipes --check --json | jq -r '.[].changes[]'",
    )
)
@click.argument("paths", metavar="RECIPE...", nargs=-1, required=True, type=click.Path())
@click.option("--check", is_flag=True, help="Write nothing; say what moved, and exit with 4 if anything did.")
@click.option("--if-locked", is_flag=True, help="Pass over recipes that have no lock.")
@options.verify_inputs
@options.as_json
@options.verbose
def command(paths: tuple[str, ...], check: bool, if_locked: bool, **given: bool) -> ExitCode:
    """Write down what the sources of recipes are.

    RECIPE is a file, a folder of recipes, or the lock of a recipe, which stands for it. The lock of NAME.yaml is
    NAME.lock.yaml beside it, with commits, sizes, SHA-256 and licences; from then on `loramerge run` takes these
    very files and no others. No weights of a base on the Hub are downloaded.
    """
    from loramerge.lock.model import place

    as_json, verbose = given["as_json"], given["verbose"]
    if "-" in paths:
        raise UsageError("a lock lies beside its recipe's file; standard input has no such place")
    files = recipe_files(recipes_of_locks(paths))
    found = read_all([file for file in files if not if_locked or has_lock(file)], ())
    recipes = [(path, recipe) for path, recipe in found if not if_locked or place(path).exists()]
    strays = stray_locks(paths, {recipe.name: path for path, recipe in recipes if not place(path).exists()})
    for stray in [] if as_json else strays:
        console.warning(stray.message)
    done, failures = each_of(
        recipes,
        partial(_check_lock if check else _write_lock, as_json=as_json, verify_inputs=given["verify_inputs"]),
        lambda given, found: _told(given[0], "failed") | {"error": found.data},
        as_json=as_json,
        verbose=verbose,
    )
    if as_json:
        console.document([*done, *(stray.data | {"status": "stray", "changes": []} for stray in strays)])
    if failures:
        return common(failures)
    moved = strays or any(each["status"] != "unchanged" for each in done)
    return ExitCode.BAD_SOURCE if check and moved else ExitCode.DONE


def _check_lock(given: tuple[str, Recipe], *, as_json: bool, verify_inputs: bool) -> dict[str, Any]:
    from loramerge.lock.model import command_for

    path, recipe = given
    earlier = lock_beside(path)
    facts = _facts(path, earlier, _resolved(recipe, like=earlier, as_json=as_json, verify_inputs=verify_inputs))
    if not as_json and facts["status"] == "unchanged":
        console.result(f"{facts['lock']}: unchanged")
    elif not as_json:
        lines = [f"{facts['lock']}: {change}" for change in facts["changes"]]
        console.error("\n".join(lines) or f"there is no {facts['lock']}", f"`{command_for(recipe)}` writes it")
    return facts


def _write_lock(given: tuple[str, Recipe], *, as_json: bool, verify_inputs: bool) -> dict[str, Any]:
    from loramerge.lock.model import place, write

    path, recipe = given
    lock = _resolved(recipe, as_json=as_json, verify_inputs=verify_inputs)
    facts = _facts(path, _earlier(path), lock)
    facts["status"] = "wrote" if write(lock, place(path)) else "unchanged"
    if not as_json:
        console.result("\n".join([f"{facts['lock']}: {facts['status']}", *(f"  {each}" for each in facts["changes"])]))
    return facts


def _facts(path: str, earlier: Lock | None, lock: Lock) -> dict[str, Any]:
    from loramerge.lock.changes import changes

    found = [str(change) for change in changes(earlier, lock)] if earlier else []
    status = "missing" if earlier is None else "moved" if found else "unchanged"
    return _told(path, status, found)


def _told(path: str, status: str, found: Sequence[str] = ()) -> dict[str, Any]:
    from loramerge.lock.model import place

    return {"recipe": path, "lock": str(place(path)), "status": status, "changes": list(found)}


def _earlier(path: str) -> Lock | None:
    try:
        return lock_beside(path)
    except InvalidRecipeError:  # what is about to be replaced need not be readable
        return None


def _resolved(recipe: Recipe, *, like: Lock | None = None, as_json: bool, verify_inputs: bool) -> Lock:
    from loramerge import lock_sources

    with progress.shown(recipe.name, as_json=as_json) as watcher:
        return lock_sources(recipe, like=like, verify_inputs=verify_inputs, progress=watcher)
