"""`loramerge lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress
from loramerge.cli.recipes import lock_beside, read_all, recipe_files, recipes_of_locks
from loramerge.cli.stray_locks import stray_locks
from loramerge.errors import ExitCode, InvalidRecipeError, UsageError

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
@options.as_json
@options.verbose
def command(paths: tuple[str, ...], check: bool, if_locked: bool, as_json: bool, verbose: bool) -> ExitCode:
    """Write down what the sources of recipes are.

    RECIPE is a file, a folder of recipes, or the lock of a recipe, which stands for it. The lock of NAME.yaml is
    NAME.lock.yaml beside it, with commits, sizes, SHA-256 and licences; from then on `loramerge run` takes these
    very files and no others. No weights of a base on the Hub are downloaded.
    """
    del verbose
    from loramerge.lock.model import place

    if "-" in paths:
        raise UsageError("a lock lies beside its recipe's file; standard input has no such place")
    files = recipe_files(recipes_of_locks(paths))
    recipes = read_all([file for file in files if not if_locked or place(file).exists()], ())
    strays = stray_locks(paths, {recipe.name: path for path, recipe in recipes if not place(path).exists()})
    for stray in [] if as_json else strays:
        console.warning(stray)
    done = [(_check_lock if check else _write_lock)(path, recipe, as_json=as_json) for path, recipe in recipes]
    if as_json:
        console.document(done)
    moved = strays or any(each["status"] != "unchanged" for each in done)
    return ExitCode.BAD_SOURCE if check and moved else ExitCode.DONE


def _check_lock(path: str, recipe: Recipe, *, as_json: bool) -> dict[str, Any]:
    from loramerge.lock.model import command_for

    facts = _facts(path, lock_beside(path), _resolved(recipe, as_json=as_json))
    if not as_json and facts["status"] == "unchanged":
        console.result(f"{facts['lock']}: unchanged")
    elif not as_json:
        lines = [f"{facts['lock']}: {change}" for change in facts["changes"]]
        console.error("\n".join(lines) or f"there is no {facts['lock']}", f"`{command_for(recipe)}` writes it")
    return facts


def _write_lock(path: str, recipe: Recipe, *, as_json: bool) -> dict[str, Any]:
    from loramerge.lock.model import place, write

    lock = _resolved(recipe, as_json=as_json)
    facts = _facts(path, _earlier(path), lock)
    facts["status"] = "wrote" if write(lock, place(path)) else "unchanged"
    if not as_json:
        console.result("\n".join([f"{facts['lock']}: {facts['status']}", *(f"  {each}" for each in facts["changes"])]))
    return facts


def _facts(path: str, earlier: Lock | None, lock: Lock) -> dict[str, Any]:
    from loramerge.lock.changes import changes
    from loramerge.lock.model import place

    found = [str(change) for change in changes(earlier, lock)] if earlier else []
    status = "missing" if earlier is None else "moved" if found else "unchanged"
    return {"recipe": path, "lock": str(place(path)), "status": status, "changes": found}


def _earlier(path: str) -> Lock | None:
    try:
        return lock_beside(path)
    except InvalidRecipeError:  # what is about to be replaced need not be readable
        return None


def _resolved(recipe: Recipe, *, as_json: bool) -> Lock:
    from loramerge import lock_sources

    with progress.shown(recipe.name, as_json=as_json) as watcher:
        return lock_sources(recipe, progress=watcher)
