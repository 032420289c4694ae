"""`loramerge preview`."""

from __future__ import annotations

import time

import click

from loramerge.cli import options, pictures, progress
from loramerge.cli.recipes import read_one


@click.command(
    epilog=options.examples(
        "loramerge preview recipes/quickstart.yaml",
        "loramerge preview ink-glow.yaml --set 'preview.prompts=[a bowl]' --set preview.steps=10 --out pictures",
        "loramerge preview ink-glow.yaml --set preview.batch_size=4 --device cuda",
    )
)
@click.argument("path", metavar="RECIPE", type=click.Path(allow_dash=True))
@pictures.out("dist/<name>-preview")
@options.overrides
@options.device
@options.as_json
@options.verbose
def command(path: str, out: str | None, overrides: tuple[str, ...], device: str, as_json: bool, verbose: bool) -> None:
    """Draw what a recipe's preview asks for, without its artifact.

    RECIPE is a file, or - for standard input. A contact sheet has a row for each prompt and seed, all from the same
    noise, and columns for the base, each LoRA alone at its weight, all of them stacked, and the merge; the single
    pictures lie beside it. Pictures that are finished stay when drawing is interrupted, and are not drawn again while
    inputs, settings and versions are the same. A recipe with a lock beside it is held to it.
    """
    from loramerge import preview

    del verbose
    given = read_one(path, overrides, locks=True)
    recipe, begin = given.readable(), time.monotonic()
    with progress.shown(recipe.name, as_json=as_json) as watcher:
        done = preview(recipe, lock=given.lock, out=out, device=device, progress=watcher)
    pictures.say(path, recipe, done, seconds=time.monotonic() - begin, as_json=as_json)
