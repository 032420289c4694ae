"""`loramerge merge`."""

from __future__ import annotations

from typing import Any

import click

from loramerge.cli import one_shot, options
from loramerge.recipe.init import COMBINATION_TYPES


@click.command(
    epilog=options.examples(
        "loramerge merge ink.safetensors:0.7 glow.safetensors:0.8 -o ink-glow.safetensors",
        "loramerge merge ink.safetensors glow.safetensors --rank 32 --fp16 -o ink-glow.safetensors",
        "loramerge merge 'ink.safetensors:{unet: {down: 0.2, up: 1.0}}' glow.safetensors -o ink-glow.safetensors",
        "loramerge merge hf://owner/ink hf://owner/glow --method ties --density 0.5 -o ink-glow",
        "loramerge merge ink.safetensors:0.7 glow.safetensors:0.8 --recipe > ink-glow.yaml",
    )
)
@click.argument("loras", metavar="LORA[:WEIGHT]...", nargs=-1, required=True)
@click.option(
    "--method",
    "combination_type",
    metavar="TYPE",
    type=click.Choice(COMBINATION_TYPES),
    help=f"How they become one: {', '.join(COMBINATION_TYPES)}. cat if absent, svd with --rank.",
)
@click.option("--rank", type=click.IntRange(1, 65536), help="Rank of the result, for the types that cut to one.")
@click.option("--density", type=float, help="Share of the values that is kept, for the types that drop some.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the types that draw at random.")
@one_shot.settings
def command(
    loras: tuple[str, ...],
    combination_type: str | None,
    rank: int | None,
    density: float | None,
    seed: int | None,
    **given: Any,
) -> None:
    """Merge LoRAs into one file or folder, without a recipe.

    LORA is a file, a folder, or hf://owner/name[/file]; WEIGHT is a number, 1 if absent, or a mapping by block. No base
    has to be at hand where the LoRAs tell their family. The result is a file for ComfyUI and A1111 (for diffusers,
    if all inputs are diffusers' files), or a PEFT folder where PLACE is no NAME.safetensors.
    """
    from loramerge.recipe.one_shot import Ingredient, settings_for

    merge = settings_for(combination_type, rank, None, {"density": density, "seed": seed})
    one_shot.perform([Ingredient.parse(lora) for lora in loras], merge, one_shot.Settings(**given))
