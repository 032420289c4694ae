"""`loramerge run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options
from loramerge.cli.boundary import failure
from loramerge.cli.orphans import prune_all, refuse_without_folder
from loramerge.cli.planning import PlannedRecipe, makers_of, planned_together
from loramerge.cli.recipes import NamedRecipe, read_each, recipe_files, refuse_mistakes, refuse_several, unlocked
from loramerge.cli.run_one import Facts, RunSettings, not_started, run_one, was_interrupted
from loramerge.cli.shards import Shard, ShardType
from loramerge.cli.stray_locks import stray_locks
from loramerge.cluster.connect import check as check_cluster
from loramerge.errors import ExitCode, LoramergeError, UsageError, common
from loramerge.merging.checks import check_reference
from loramerge.merging.device import chosen_device

if TYPE_CHECKING:
    from loramerge.cli.crew import Crew


@click.command(
    epilog=options.examples(
        "loramerge run recipes/quickstart.yaml",
        "loramerge run recipes --jobs 4 --no-publish",
        "loramerge run recipes --shard 3/8",
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
@click.option(
    "--no-keep", is_flag=True, help="Keep no artifact: make it in a temporary folder, publish it, and remove it."
)
@click.option("--reference", is_flag=True, help="Leave every step of the merge to PEFT itself, for comparison.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    help="How many recipes at once, each in a process; 1 if absent, and with --on ray what the cluster has room for.",
)
@options.on("recipes are run")
@click.option(
    "--shard", metavar="K/N", type=ShardType(), help="Run the K-th of N parts of the recipes, one on each machine."
)
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
def command(
    paths: tuple[str, ...],
    overrides: tuple[str, ...],
    jobs: int | None,
    on: str | None,
    shard: Shard | None,
    **given: Any,
) -> ExitCode:
    """Merge what recipes say, write the artifacts and publish them.

    RECIPE is a file, a folder of recipes, or - for standard input. All of them are planned before the first one
    runs, as `loramerge plan` does, and what that refuses keeps everything from starting; what is up to date is left
    alone. The first that fails ends the command; with --keep-going the others are run, and the exit code is that of
    the failures, or 1 where they have several. A recipe with a lock beside it is held to it. With --jobs recipes run
    side by side, as many as the memory has room for, and are told in their order. With --on ray each is a task of a
    Ray cluster, which does again what a lost worker had begun.
    """
    settings = RunSettings(**given)
    if on is not None:
        check_cluster()
    recipes = _chosen(paths, overrides, settings, shard)
    strays = stray_locks(paths, unlocked(recipes))
    for stray in [] if settings.as_json else strays:
        console.warning(stray.message)
    planning = settings.planning()
    together = planned_together(recipes, planning, quiet=settings.as_json, verbose=settings.verbose)
    found = [_checked(each, settings) for each in together]
    if on is None and settings.device == "cuda" and any(each.pending for each in found):
        chosen_device(settings.device)
    crew = _crew(found, settings, jobs, on)
    done = list(_each(found, settings, planning, crew))
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


def _chosen(
    paths: Sequence[str], overrides: Sequence[str], settings: RunSettings, shard: Shard | None
) -> Sequence[NamedRecipe]:
    """The recipes that are to be run, right or wrong.

    Raises:
        InvalidRecipeError: One has mistakes, and the others are not to go on.
        UsageError: Options that do not go together.
    """
    if settings.prune:
        refuse_without_folder(paths)
        if shard is not None:
            raise UsageError("--prune looks at all recipes, and --shard at some", hint="prune in a run without --shard")
    if settings.no_keep and (settings.out is not None or settings.no_publish):
        other = "--no-publish" if settings.no_publish else "--out"
        raise UsageError(f"--no-keep publishes and keeps nothing, which {other} contradicts", hint="leave one out")
    recipes = read_each(recipe_files(paths), overrides, locks=True)
    if settings.out is not None:
        refuse_several(recipes, "--out")
    if shard is not None:
        recipes = shard.of(recipes, makers_of(recipes))
    if not settings.keep_going:
        refuse_mistakes(recipes)
    return recipes


def _checked(found: PlannedRecipe, settings: RunSettings) -> PlannedRecipe:
    """The same, failed where an option asks for what it can't do."""
    recipe = found.given.recipe
    if recipe is None or found.failure is not None:
        return found
    try:
        if settings.reference:
            check_reference([lora.name for lora in recipe.loras], recipe.merge)
        if settings.no_keep and not recipe.publish:
            raise UsageError(
                f"{found.given.path} has no target, and --no-keep keeps nothing else", hint="add `publish:` to it"
            )
    except LoramergeError as error:
        return replace(found, failure=failure(error, verbose=False))
    return found


def _crew(found: Sequence[PlannedRecipe], settings: RunSettings, jobs: int | None, on: str | None) -> Crew | None:
    """Who runs the recipes besides this process, if there is anything to do for them."""
    if any(each.failure for each in found) and not settings.keep_going:
        return None
    if on is not None:
        if not any(each.has_work(remakes=settings.remakes) for each in found):
            return None
        from loramerge.cli.on_ray import RayCrew

        return RayCrew(settings, jobs)
    if (jobs or 1) == 1 or len(found) == 1:
        return None
    from loramerge.cli.processes import ProcessCrew

    return ProcessCrew(settings, jobs or 1)


def _each(
    found: Sequence[PlannedRecipe], settings: RunSettings, planning: Mapping[str, Any], crew: Crew | None
) -> Iterator[Facts]:
    """What became of each recipe. Nothing is started while one of them is known to fail, unless others may go on."""
    if crew is not None:
        from loramerge.cli.side_by_side import side_by_side

        yield from side_by_side(found, settings, crew)
        return
    stopped = any(each.failure for each in found) and not settings.keep_going
    for each in found:
        if stopped and each.failure is None:
            yield not_started(each)
            continue
        facts = run_one(each, settings, planning)
        yield facts
        if "error" in facts:
            stopped = stopped or not settings.keep_going or was_interrupted(facts)
