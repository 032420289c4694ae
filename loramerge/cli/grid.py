"""`loramerge grid`."""

from __future__ import annotations

import time
from typing import Literal

import click

from loramerge.cli import options, pictures, progress
from loramerge.cli.locks import lock_beside


@click.command(
    epilog=options.examples(
        "loramerge grid ink-glow.yaml --set loras.ink.weight=0.5,0.7,1.0",
        "loramerge grid ink-glow.yaml --set loras.ink.weight=0.5,1.0 --set loras.glow.weight=0.5,1.0",
        "loramerge grid ink-glow.yaml --set 'merge={combination_type: cat},{combination_type: ties, density: 0.5}'",
    )
)
@click.argument("path", metavar="RECIPE", type=click.Path(allow_dash=True))
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE,…",
    multiple=True,
    help="Values of the recipe: several, parted by commas, for the columns; a second such key for the rows.",
)
@pictures.out("dist/<name>-grid")
@options.on("cells are drawn")
@options.device
@options.as_json
@options.verbose
def command(
    path: str,
    settings: tuple[str, ...],
    out: str | None,
    on: Literal["ray"] | None,
    device: str,
    as_json: bool,
    verbose: bool,
) -> None:
    """Draw variants of a merge side by side.

    RECIPE is a file, or - for standard input. One or two --set have several values, of the merge or of a LoRA's weight:
    one grid for each prompt and seed of the recipe's preview shows the merge of every combination, drawn from the
    same noise. Commas within brackets, braces and quotes are a value's own. The sources are resolved and the base
    is loaded once. No artifact is made. Finished pictures are kept, as by `loramerge preview`.
    """
    from loramerge import grid, read_variants

    del verbose
    variants, begin = read_variants(path, settings), time.monotonic()
    lock = lock_beside(path)
    with progress.shown(variants.first.name, as_json=as_json) as watcher:
        done = grid(variants, lock=lock, out=out, on=on, device=device, progress=watcher)
    pictures.say(path, variants.first, done, seconds=time.monotonic() - begin, as_json=as_json)
