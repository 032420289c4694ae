"""`loramerge run`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress
from loramerge.cli.boundary import failure
from loramerge.cli.orphans import prune_all, refuse_without_folder
from loramerge.cli.planning import PlannedRecipe, planned, planned_together
from loramerge.cli.recipes import read_each, recipe_files, refuse_mistakes, refuse_several, unlocked
from loramerge.cli.stray_locks import stray_locks
from loramerge.errors import ExitCode, LoramergeError, PublishError, common
from loramerge.merging.checks import check_reference
from loramerge.merging.device import chosen_device

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
    "--prune", is_flag=True, help="Remove from targets and from dist what recipes left that are gone from the folder."
)
@click.option(
    "--sign",
    metavar="KEY",
    type=click.Path(),
    help="Sign the artifact: a file with an EC private key (its password in LORAMERGE_KEY_PASSWORD), or sigstore.",
)
@options.verify_inputs
@options.as_json
@options.verbose
def command(paths: tuple[str, ...], overrides: tuple[str, ...], **given: Any) -> ExitCode:
    """Merge what recipes say, write the artifacts and publish them.

    RECIPE is a file, a folder of recipes, or - for standard input. All of them are planned before the first one
    runs, as `loramerge plan` does, and what that refuses keeps everything from starting; what is up to date is left
    alone. The first that fails ends the command; with --keep-going the others are run, and the exit code is that of
    the failures, or 1 where they have several. A recipe with a lock beside it is held to it.
    """
    settings = _Settings(**given)
    if settings.prune:
        refuse_without_folder(paths)
    recipes = read_each(recipe_files(paths), overrides, locks=True)
    if settings.out is not None:
        refuse_several(recipes, "--out")
    if not settings.keep_going:
        refuse_mistakes(recipes)
    strays = stray_locks(paths, unlocked(recipes))
    for stray in [] if settings.as_json else strays:
        console.warning(stray.message)
    planning = settings.planning()
    together = planned_together(recipes, planning, quiet=settings.as_json, verbose=settings.verbose)
    found = [_checked(each, settings) for each in together]
    if settings.device == "cuda" and any(each.pending for each in found):
        chosen_device(settings.device)
    done = list(_each(found, settings, planning))
    if settings.prune and not any("error" in each for each in done):
        done += prune_all(paths, recipes, as_json=settings.as_json, verbose=settings.verbose)
    if settings.as_json:
        console.document([*done, *(stray.data | {"status": "stray"} for stray in strays)])
    failed = [each for each in done if "error" in each]
    if any(each["recipe"] for each in failed) and not settings.as_json and len(recipes) > 1:
        console.note(f"{len(failed)} of {len(recipes)} recipes failed: {', '.join(each['recipe'] for each in failed)}")
        if waiting := [each["recipe"] for each in done if each["status"] == "not started"]:
            console.note(f"not started: {', '.join(waiting)}; --keep-going runs what can be run")
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
    prune: bool
    sign: str | None
    verify_inputs: bool
    as_json: bool
    verbose: bool

    def planning(self) -> dict[str, Any]:
        """What `loramerge.plan` has to know of them."""
        publishing, signing = not self.no_publish, _trusted(self.sign)
        given = {"out": self.out, "force": self.force, "verify_inputs": self.verify_inputs}
        return {**given, "publishing": publishing, "signing": signing}


def _checked(found: PlannedRecipe, settings: _Settings) -> PlannedRecipe:
    """The same, failed where an option asks for what its merge can't do."""
    recipe = found.given.recipe
    if recipe is None or found.failure is not None or not settings.reference:
        return found
    try:
        check_reference([lora.name for lora in recipe.loras], recipe.merge)
    except LoramergeError as error:
        return replace(found, failure=failure(error, verbose=False))
    return found


def _each(found: Sequence[PlannedRecipe], settings: _Settings, planning: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What became of each recipe. Nothing is started while one of them is known to fail, unless others may go on."""
    stopped = any(each.failure for each in found) and not settings.keep_going
    for each in found:
        if stopped and each.failure is None:
            yield {"recipe": each.given.path, "name": each.given.name, "status": "not started"}
            continue
        now = each
        if each.waits_for:  # what it is made of is there now
            now = planned(each.given, planning, quiet=settings.as_json, verbose=settings.verbose)
        failed = now.failure
        try:
            if now.plan is not None and failed is None:
                yield _run(each.given.path, now.plan, settings)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever it is, what was done is told
            failed = failure(error, verbose=settings.verbose)
        if failed is not None:
            if not settings.as_json:
                console.error(failed.message, failed.hint)
            yield {"recipe": each.given.path, "name": each.given.name, "status": "failed", "error": failed.data}
            stopped = stopped or not settings.keep_going or failed.code == ExitCode.INTERRUPTED


def _trusted(sign: str | None) -> bool | Trust:
    """Whose signatures are good enough, so that nothing has to be signed again."""
    if sign is None:
        return False
    from loramerge.provenance.signing.sign import signer

    return signer(sign).trust() or True


def _run(path: str, found: Plan, settings: _Settings) -> dict[str, Any]:
    with progress.shown(found.recipe.name, as_json=settings.as_json) as watcher:
        facts, text = _do(path, found, settings, watcher)
    facts |= {"warnings": [*found.notes, *facts.get("warnings", ())]}
    if not settings.as_json:
        for warning in facts["warnings"]:
            console.warning(f"{found.recipe.name}: {warning}")
        console.result(text)
    return facts


def _do(path: str, planned: Plan, settings: _Settings, watcher: Progress) -> tuple[dict[str, Any], str]:
    """What the plan says, and nothing else."""
    from loramerge import publish, run
    from loramerge.cli import summary
    from loramerge.files.run_lock import in_turn
    from loramerge.stages.keep import keep
    from loramerge.stages.tidy import tidy

    recipe, place = planned.recipe, Path(planned.artifact.place)
    begin = time.monotonic()
    tidy(recipe, place, publishing=not settings.no_publish, progress=watcher)
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
                verify_inputs=settings.verify_inputs,
                progress=watcher,
            )
            keep(recipe, place)
            facts = summary.of(path, recipe, result, seconds=time.monotonic() - begin)
            return facts, summary.text(recipe, result, facts, verbose=settings.verbose)
        keep(recipe, place)
        receipts: tuple[Receipt, ...] = ()
        if planned.publishes_to:
            with in_turn(place, watcher):
                receipts = publish(place, recipe, targets=planned.publishes_to, force=settings.force, progress=watcher)
    except PublishError as error:
        complete = f"{error.message}; the artifact itself is complete, in {summary.near(place)}"
        raise PublishError(complete, hint=error.hint) from error
    return summary.of_published(path, planned, receipts), summary.text_of_published(planned, receipts)
