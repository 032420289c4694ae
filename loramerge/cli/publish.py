"""`loramerge publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress
from loramerge.cli.recipes import lock_beside, read_all, recipe_files, refuse_several
from loramerge.errors import PublishError, UsageError

if TYPE_CHECKING:
    from loramerge import Recipe


@click.command(
    epilog=options.examples(
        "loramerge publish ink-glow.yaml",
        "loramerge publish ink-glow.yaml --artifact dist/ink-glow",
        "loramerge publish recipes --json | jq -r '.[].published[].url'",
    )
)
@click.argument("paths", metavar="RECIPE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--artifact", metavar="DIR", type=click.Path(), help="Where the artifact is; dist/<name> if absent. For one recipe."
)
@click.option("--force", is_flag=True, help="Replace whatever is in the way where it is published.")
@options.as_json
@options.verbose
def command(paths: tuple[str, ...], artifact: str | None, **given: Any) -> None:
    """Publish artifacts that were built before.

    RECIPE is a file or a folder of recipes; its artifact is there, as `loramerge run --no-publish` leaves it. Nothing
    is merged: an artifact that is not what its recipe and lock ask for, or whose files were changed, is refused.
    Targets that are up to date are left alone.
    """
    if "-" in paths:
        raise UsageError("publishing takes recipes as they are in files; standard input has none")
    recipes = read_all(recipe_files(paths), ())
    if artifact is not None:
        refuse_several(recipes, "--artifact")
    done = [
        _publish(path, recipe, artifact, force=given["force"], as_json=given["as_json"]) for path, recipe in recipes
    ]
    if given["as_json"]:
        console.document(done)


def _publish(path: str, recipe: Recipe, artifact: str | None, *, force: bool, as_json: bool) -> dict[str, Any]:
    from loramerge import plan, publish
    from loramerge.cli import summary
    from loramerge.files.run_lock import in_turn

    place = Path(artifact or Path("dist") / recipe.name)
    with progress.shown(recipe.name, as_json=as_json) as watcher:
        planned = plan(recipe, lock=lock_beside(path), out=place, force=force, building=False, progress=watcher)
        if planned.artifact.pending:
            reason = planned.artifact.reasons[0]
            raise PublishError(
                f"there is no artifact in {place}"
                if reason.kind == "new"
                else f"{place} is not what {path} asks for: {reason}",
                hint=f"`loramerge run {path}` makes it and publishes it",
            )
        planned.refuse()
        with in_turn(place, watcher):
            receipts = publish(place, recipe, targets=planned.publishes_to, force=force, progress=watcher)
    if not as_json:
        console.result(summary.text_of_published(planned, receipts))
    return summary.of_published(path, planned, receipts)
