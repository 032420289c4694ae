"""`loramerge extract`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loramerge.analysis.rounding import rounded_outputs
from loramerge.cli import one_shot, options
from loramerge.errors import UsageError

if TYPE_CHECKING:
    from loramerge import MergedLora, Recipe

_FORMATS = ("kohya", "comfyui", "diffusers", "peft")
_WORST = 3


@click.command(
    epilog=options.examples(
        "loramerge extract tuned.safetensors base.safetensors --rank 32 -o style.safetensors",
        "loramerge extract tuned hf://owner/base --energy 0.95 --fp16 -o style.safetensors",
        "loramerge extract tuned.safetensors base --rank unet=32,text_encoder=8 -o style.safetensors",
        "loramerge extract tuned.safetensors base.safetensors --rank 32 -o x.safetensors --recipe > style.yaml",
    )
)
@click.argument("tuned", metavar="TUNED")
@click.argument("base", metavar="BASE")
@click.option(
    "--rank",
    metavar="RANK",
    help="A number, or one for each component that takes part: unet=32,text_encoder=8. With --energy, the most of it.",
)
@click.option(
    "--energy",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of each module's squared norm to keep, with as small a rank as that takes.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(_FORMATS),
    help="Of the result; kohya for a file and peft for a folder if absent.",
)
@click.option(
    "--parameters",
    is_flag=True,
    help="Keep what differs in norms, biases and the like as it is, in formats that hold it: kohya and comfyui.",
)
@one_shot.settings_of_models
def command(
    tuned: str,
    base: str,
    rank: str | None,
    energy: float | None,
    output_format: str | None,
    parameters: bool,
    **given: Any,
) -> None:
    """Make the best LoRA of the difference of two models.

    TUNED is a model that was trained in full from BASE: one safetensors file, the folder of a pipeline or of a lone
    model, or hf://owner/name[/file]; so is BASE. They may differ in layout and number format. Layers that are equal
    are left out; what a LoRA has no pairs for, such as biases, is told with its size, and kept with --parameters.
    """
    from loramerge.recipe.extracting import extracting, ranks_of
    from loramerge.recipe.given_base import GivenBase
    from loramerge.recipe.one_shot import format_for

    if rank is None and energy is None:
        raise UsageError("say how large the LoRA is to be: --rank N, or --energy SHARE", hint="--rank 32 is common")
    if GivenBase.parse(base).family:
        raise UsageError(
            f"{base} is a family's name, and its weights are needed here", hint="name the base's file or folder"
        )
    cut = {"rank": None if rank is None else ranks_of(rank), "energy": energy, "parameters": parameters or None}
    options_given = one_shot.Settings(**given)

    def composed(place: str) -> Recipe:
        chosen = format_for(place, _FORMATS[:1])
        return extracting(
            Path(place).stem if Path(place).suffix == ".safetensors" else Path(place).name,
            (tuned, base),
            {key: value for key, value in cut.items() if value is not None},
            {"format": output_format or chosen, "dtype": options_given.number_format},
            options_given.overrides,
        )

    one_shot.perform_recipe(options_given, composed, _rows)


def _rows(recipe: Recipe, done: MergedLora) -> Iterator[tuple[str, str]]:
    facts = done.report["loras"][0]["extraction"]
    yield "extracted", f"{done.report['loras'][0]['source']} less {facts['base']}"
    errors = ", ".join(f"{name} {part['error']:.2g}" for name, part in facts["components"].items())
    yield "kept", f"{1 - facts['error'] ** 2:.1%} of the squared norm; relative error {facts['error']:.2g} ({errors})"
    modules = [
        (entry["error"], f"{component}.{name}")
        for component, part in facts["modules"].items()
        for name, entry in part.items()
    ]
    worst = sorted(modules, key=lambda each: (-each[0], each[1]))[:_WORST]
    yield "worst", ", ".join(f"{name} {error:.2g}" for error, name in worst)
    for words in rounded_outputs(recipe, done.report["rounding"]):
        yield "rounding", words
    yield "rank", one_shot.ranks(done)
    yield "modules", ", ".join(f"{name} {part['modules']}" for name, part in facts["components"].items())
    yield from one_shot.file_rows(recipe, done)
