"""`loramerge run`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress
from loramerge.cli.recipes import lock_beside, read_all, recipe_files
from loramerge.errors import PublishError, UsageError

if TYPE_CHECKING:
    from loramerge import Lock, Recipe


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
    "--out", metavar="DIR", type=click.Path(), help="Where the artifact goes; dist/<name> if absent. For one recipe."
)
@options.overrides
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
@click.option("--force", is_flag=True, help="Replace whatever is in the way, at DIR and where it is published.")
@click.option("--no-publish", is_flag=True, help="Leave the recipe's targets alone.")
@click.option("--reference", is_flag=True, help="Leave every step of the merge to PEFT itself, for comparison.")
@options.as_json
@options.verbose
def command(paths: tuple[str, ...], overrides: tuple[str, ...], **given: Any) -> None:
    """Merge what recipes say, write the artifacts and publish them.

    RECIPE is a file, a folder of recipes, or - for standard input. All of them are checked before the first one
    runs; the first that fails ends the command. A recipe with a lock beside it is held to it.
    """
    settings = _Settings(**given)
    recipes = read_all(recipe_files(paths), overrides)
    if settings.out is not None and len(recipes) > 1:
        raise UsageError(f"--out is for one recipe, these are {len(recipes)}", hint="leave it out, or name one recipe")
    locks = {path: lock_beside(path) for path, _ in recipes}
    done = [_run(path, recipe, locks[path], settings) for path, recipe in recipes]
    if settings.as_json:
        console.document(done)


@dataclass(frozen=True)
class _Settings:
    out: str | None
    device: str
    force: bool
    no_publish: bool
    reference: bool
    as_json: bool
    verbose: bool


def _run(path: str, recipe: Recipe, lock: Lock | None, settings: _Settings) -> dict[str, Any]:
    from loramerge import run
    from loramerge.cli import summary

    begin = time.monotonic()
    try:
        with progress.shown(recipe.name, as_json=settings.as_json) as watcher:
            result = run(
                recipe,
                lock=lock,
                out=Path(settings.out) if settings.out else None,
                device=settings.device,
                force=settings.force,
                publishing=not settings.no_publish,
                reference=settings.reference,
                progress=watcher,
            )
    except PublishError as error:
        place = settings.out or Path("dist", recipe.name)
        raise PublishError(f"{error.message}; the artifact itself is complete, in {place}", hint=error.hint) from error
    facts = summary.of(path, recipe, result, seconds=time.monotonic() - begin)
    if not settings.as_json:
        for warning in result.warnings:
            console.warning(f"{recipe.name}: {warning}")
        console.result(summary.text(recipe, result, facts, verbose=settings.verbose))
    return facts
