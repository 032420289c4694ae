"""`loramerge resize`."""

from __future__ import annotations

from typing import Any

import click

from loramerge.cli import one_shot, options
from loramerge.errors import UsageError


@click.command(
    epilog=options.examples(
        "loramerge resize ink.safetensors --rank 16 -o ink-16.safetensors",
        "loramerge resize ink.safetensors --energy 0.98 --fp16 -o ink-small.safetensors",
        "loramerge resize 'ink.safetensors:{unet: {mid: 0}}' --energy 0.9 --rank 32 -o ink-32.safetensors",
    )
)
@click.argument("lora", metavar="LORA[:WEIGHT]")
@click.option("--rank", type=click.IntRange(1, 65536), help="Rank of the result; with --energy, the most of it.")
@click.option(
    "--energy",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of each module's squared norm to keep, with as small a rank as that takes.",
)
@one_shot.settings
def command(lora: str, rank: int | None, energy: float | None, **given: Any) -> None:
    """Make the best LoRA of a smaller rank, by singular values.

    LORA is a file, a folder, or hf://owner/name[/file]; WEIGHT is a number, 1 if absent, or a mapping by block. A
    module whose rank is smaller already keeps it. The result is in the format that `loramerge merge` would choose.
    """
    from loramerge.recipe.one_shot import Ingredient, settings_for

    if rank is None and energy is None:
        raise UsageError("say to what size: --rank N, or --energy SHARE", hint="--energy 0.98 loses little")
    merge = settings_for("svd", rank, energy, {})
    one_shot.perform([Ingredient.parse(lora)], merge, one_shot.Settings(**given))
