"""`loramerge run`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress
from loramerge.cli.boundary import failure
from loramerge.cli.recipes import NamedRecipe, read_each, recipe_files, refuse_mistakes, refuse_several
from loramerge.errors import ExitCode, PublishError, common

if TYPE_CHECKING:
    from loramerge import Plan
    from loramerge.progress import Progress
    from loramerge.provenance.signing.verify import Trust
    from loramerge.targets.target import Receipt


@click.command(
    epilog=options.examples(
        "loramerge run recipes/quickstart.yaml",
        "loramerge run recipes --no-publish --device cpu",
        "loramerge run ink-glow.yaml --set loras.0.weight=0.5 --out dist/weaker",
        "loramerge init ink.safetensors glow.safetensors --base hf://owner/model -o - | loramerge run -",
    )
)
@click.argument("paths", metavar="RECIPE...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option(
    "--out",
    metavar="DIR",
    type=options.PlaceType(),
    help="Where the artifact goes; dist/<name> if absent. For one recipe.",
)
@options.overrides
@options.device
@click.option("--rebuild", is_flag=True, help="Make and publish also what is up to date.")
@click.option("--force", is_flag=True, help="Replace whatever is in the way, at DIR and where it is published.")
@click.option("--no-publish", is_flag=True, help="Leave the recipe's targets alone.")
@click.option("--reference", is_flag=True, help="Leave every step of the merge to PEFT itself, for comparison.")
@click.option("-k", "--keep-going", is_flag=True, help="Go on with the other recipes when one fails.")
@click.option(
    "--sign",
    metavar="KEY",
    type=click.Path(),
    help="Sign the artifact: a file with an EC private key (its password in LORAMERGE_KEY_PASSWORD), or sigstore.",
)
@options.as_json
@options.verbose
def command(paths: tuple[str, ...], overrides: tuple[str, ...], **given: Any) -> ExitCode:
    """Merge what recipes say, write the artifacts and publish them.

    RECIPE is a file, a folder of recipes, or - for standard input. All of them are checked before the first one
    runs, and each does what `loramerge plan` says: what is up to date is left alone. The first that fails ends the
    command; with --keep-going the others are run, and the exit code is that of the failures, or 1 where they have
    several. A recipe with a lock beside it is held to it.
    """
    settings = _Settings(**given)
    recipes = read_each(recipe_files(paths), overrides, locks=True)
    if settings.out is not None:
        refuse_several(recipes, "--out")
    if not settings.keep_going:
        refuse_mistakes(recipes)
    done = list(_each(recipes, settings))
    if settings.as_json:
        console.document(done)
    failed = [each for each in done if "error" in each]
    if failed and not settings.as_json and len(recipes) > 1:
        console.note(f"{len(failed)} of {len(recipes)} recipes failed: {', '.join(each['recipe'] for each in failed)}")
    return common(ExitCode(each["error"]["exit_code"]) for each in failed)


@dataclass(frozen=True)
class _Settings:
    out: str | None
    device: str
    rebuild: bool
    force: bool
    no_publish: bool
    reference: bool
    keep_going: bool
    sign: str | None
    as_json: bool
    verbose: bool


def _each(recipes: Sequence[NamedRecipe], settings: _Settings) -> Iterator[dict[str, Any]]:
    for given in recipes:
        try:
            yield _run(given, settings)
        except Exception as error:  # noqa: BLE001, PERF203  whatever it is, the others are done or asked for
            found = failure(error, verbose=settings.verbose)
            if not settings.as_json:
                console.error(found.message, found.hint)
            yield {"recipe": given.path, "name": given.name, "status": "failed", "error": found.data}
            if not settings.keep_going:
                return


def _trusted(sign: str | None) -> bool | Trust:
    """Whose signatures are good enough, so that nothing has to be signed again."""
    if sign is None:
        return False
    from loramerge.provenance.signing.sign import signer

    return signer(sign).trust() or True


def _run(given: NamedRecipe, settings: _Settings) -> dict[str, Any]:
    from loramerge import plan

    recipe = given.readable()
    with progress.shown(recipe.name, as_json=settings.as_json) as watcher:
        planned = plan(
            recipe,
            lock=given.lock,
            out=settings.out,
            force=settings.force,
            publishing=not settings.no_publish,
            signing=_trusted(settings.sign),
            progress=watcher,
        )
        if not settings.as_json:
            for note in planned.notes:
                console.warning(f"{recipe.name}: {note}")
        facts, text = _do(given.path, planned, settings, watcher)
    if settings.as_json:
        return facts | {"warnings": [*planned.notes, *facts.get("warnings", ())]}
    for warning in facts.get("warnings", ()):
        console.warning(f"{recipe.name}: {warning}")
    console.result(text)
    return facts


def _do(path: str, planned: Plan, settings: _Settings, watcher: Progress) -> tuple[dict[str, Any], str]:
    """What the plan says, and nothing else."""
    from loramerge import publish, run
    from loramerge.cli import summary
    from loramerge.files.run_lock import in_turn

    recipe, place = planned.recipe, Path(planned.artifact.place)
    planned.refuse()
    begin = time.monotonic()
    rebuild = settings.rebuild or settings.reference  # what another way made is not up to date
    everywhere = () if settings.no_publish else recipe.publish
    try:
        if planned.artifact.pending or rebuild:
            result = run(
                recipe,
                lock=planned.lock,
                out=place,
                device=settings.device,
                force=settings.force,
                reference=settings.reference,
                targets=everywhere if rebuild else planned.publishes_to,
                sign=settings.sign,
                progress=watcher,
            )
            facts = summary.of(path, recipe, result, seconds=time.monotonic() - begin)
            return facts, summary.text(recipe, result, facts, verbose=settings.verbose)
        receipts: tuple[Receipt, ...] = ()
        if planned.publishes_to:
            with in_turn(place, watcher):
                receipts = publish(place, recipe, targets=planned.publishes_to, force=settings.force, progress=watcher)
    except PublishError as error:
        complete = f"{error.message}; the artifact itself is complete, in {summary.near(place)}"
        raise PublishError(complete, hint=error.hint) from error
    return summary.of_published(path, planned, receipts), summary.text_of_published(planned, receipts)
