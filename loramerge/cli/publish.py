"""`loramerge publish`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress, summary
from loramerge.cli.boundary import failure
from loramerge.cli.planning import PlannedRecipe, apart, planned
from loramerge.cli.recipes import read_each, recipe_files, refuse_mistakes, refuse_several
from loramerge.cli.summary import near
from loramerge.errors import ExitCode, PublishError, UsageError, common

if TYPE_CHECKING:
    from loramerge import Plan, Receipt


@click.command(
    epilog=options.examples(
        "loramerge publish ink-glow.yaml",
        "loramerge publish ink-glow.yaml --artifact dist/ink-glow",
        "loramerge publish recipes --json | jq -r '.[].published[].url'",
    )
)
@click.argument("paths", metavar="RECIPE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--artifact",
    metavar="DIR",
    type=options.PlaceType(),
    help="Where the artifact is; dist/<name> if absent. For one recipe.",
)
@click.option("--force", is_flag=True, help="Replace whatever is in the way where it is published.")
@options.as_json
@options.verbose
def command(paths: tuple[str, ...], artifact: str | None, **given: Any) -> ExitCode:
    """Publish artifacts that were built before.

    RECIPE is a file or a folder of recipes; its artifact is there, as `loramerge run --no-publish` leaves it. Nothing
    is merged: an artifact that is not what its recipe and lock ask for, or whose files were changed, is refused, before
    anything is published. Targets that are up to date are left alone. The first that fails ends the command.
    """
    if "-" in paths:
        raise UsageError("publishing takes recipes as they are in files; standard input has none")
    recipes = read_each(recipe_files(paths), (), locks=True)
    refuse_mistakes(recipes)
    if artifact is not None:
        refuse_several(recipes, "--artifact")
    force, as_json, verbose = given["force"], given["as_json"], given["verbose"]
    places = {each.path: Path(artifact or Path("dist") / each.readable().name).resolve() for each in recipes}
    # Without a place of its own an artifact is wanted by targets alone.
    settings = {"force": force, "building": False, "out": None if artifact is None else Path(artifact).resolve()}
    asked = [_built(planned(each, settings, quiet=as_json, verbose=verbose), artifact) for each in recipes]
    found = apart(asked, places, verbose=verbose)
    done = list(_each(found, force=force, as_json=as_json, verbose=verbose))
    if as_json:
        console.document(done)
    return common(ExitCode(each["error"]["exit_code"]) for each in done if "error" in each)


def _built(found: PlannedRecipe, artifact: str | None) -> PlannedRecipe:
    """The same, failed where an artifact is wanted, and there is none that the recipe asks for."""
    if found.plan is None or found.failure is not None or not found.plan.artifact.pending:
        return found
    place, reason = near(Path(found.plan.artifact.place)), found.plan.artifact.reasons[0]
    what = f"{place} is not what {found.given.path} asks for: {reason}"
    again = shlex.join([found.given.path, *(() if artifact is None else ("--out", artifact))])
    goes = " and publishes it" if found.plan.recipe.publish else "; it has no `publish:`, and goes nowhere else"
    error = PublishError(
        f"there is no artifact in {place}" if reason.kind == "new" else what,
        hint=f"`loramerge run {again}` makes it{goes}",
    )
    return replace(found, failure=failure(error, verbose=False))


def _each(found: Sequence[PlannedRecipe], *, force: bool, as_json: bool, verbose: bool) -> Iterator[dict[str, Any]]:
    """What became of each recipe. Nothing is started while one of them is known to fail."""
    stopped = any(each.failure for each in found)
    for each in found:
        failed, facts = each.failure, {"recipe": each.given.path, "name": each.given.name}
        if stopped and failed is None:
            yield facts | {"status": "not started"}
            continue
        try:
            if each.plan is not None and failed is None:
                yield _publish(each.given.path, each.plan, force=force, as_json=as_json)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever it is, what was done is told
            failed = failure(error, verbose=verbose)
        if failed is not None:
            stopped = True
            if not as_json:
                console.error(failed.message, failed.hint)
            yield facts | {"status": "failed", "error": failed.data}


def _publish(path: str, plan: Plan, *, force: bool, as_json: bool) -> dict[str, Any]:
    from loramerge import publish
    from loramerge.files.run_lock import in_turn
    from loramerge.stages.tidy import tidy

    place = Path(plan.artifact.place)
    receipts: Sequence[Receipt] = ()
    with progress.shown(plan.recipe.name, as_json=as_json) as watcher:
        tidy(plan.recipe, place, progress=watcher)
        if plan.publishes_to:
            with in_turn(place, watcher):
                receipts = publish(place, plan.recipe, targets=plan.publishes_to, force=force, progress=watcher)
    facts = summary.of_published(path, plan, receipts) | {"warnings": list(plan.notes)}
    if not as_json:
        for warning in facts["warnings"]:
            console.warning(f"{plan.recipe.name}: {warning}")
        console.result(summary.text_of_published(plan, receipts))
    return facts
