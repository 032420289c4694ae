"""What `loramerge merge` and `loramerge resize` share: a recipe from options, run into one file or folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loramerge.cli import console, options, progress, summary
from loramerge.errors import UsageError
from loramerge.families import named, title_of

if TYPE_CHECKING:
    from loramerge import MergedLora, Recipe
    from loramerge.recipe.one_shot import Ingredient

Command = TypeVar("Command", bound=Callable[..., Any])

_DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """The options that both commands have."""

    output: str | None
    base: str | None
    dtype: str | None
    fp16: bool
    overrides: tuple[str, ...]
    device: str
    recipe: bool
    force: bool
    as_json: bool
    verbose: bool

    @property
    def number_format(self) -> str:
        """Of the file's tensors.

        Raises:
            UsageError: Two are asked for.
        """
        if self.fp16 and self.dtype not in (None, "float16"):
            raise UsageError(f"--fp16 and --dtype {self.dtype} exclude each other", hint="leave one of them out")
        return "float16" if self.fp16 else self.dtype or _DTYPES[0]


def settings(command: Command) -> Command:
    """The options of `Settings`."""
    for decorate in reversed(
        (
            click.option(
                "-o",
                "--output",
                metavar="PLACE",
                type=options.PlaceType("a file or a folder", allow_dash=True),
                help="NAME.safetensors, or a folder in PEFT's format.",
            ),
            options.base,
            click.option(
                "--dtype",
                type=click.Choice(_DTYPES),
                help=f"Number format of the result; {_DTYPES[0]} if absent.",
            ),
            click.option("--fp16", is_flag=True, help="The same as --dtype float16."),
            options.overrides,
            options.device,
            click.option("--recipe", is_flag=True, help="Print the recipe that this is, and do nothing."),
            click.option("--force", is_flag=True, help="Replace the LoRA at PLACE."),
            options.as_json,
            options.verbose,
        )
    ):
        command = decorate(command)
    return command


def perform(loras: Sequence[Ingredient], merge: Mapping[str, Any], given: Settings) -> None:
    """Print the recipe, or merge it.

    Args:
        loras: What goes in.
        merge: How.
        given: The options.
    """
    from loramerge import merge as run_merge

    if given.recipe and given.as_json:
        raise UsageError("--recipe prints YAML, and --json prints JSON", hint="leave one of them out")
    place = _place(given)
    recipe = _composed(place, loras, merge, given)
    if given.recipe:
        console.result(recipe.text.rstrip("\n"))
        return
    begin = time.monotonic()
    with progress.shown(recipe.name, as_json=given.as_json) as watcher:
        done = run_merge(recipe, place, device=given.device, force=given.force, progress=watcher)
    seconds = time.monotonic() - begin
    if given.as_json:
        console.document(_facts(recipe, done, seconds))
        return
    for warning in done.warnings:
        console.warning(warning)
    rows = [*summary.merge_rows(recipe, done.report, done.fidelity), *_rows(recipe, done)]
    console.result(f"{summary.near(done.place)}\n{console.table([*rows, ('time', f'{seconds:.1f} s')])}")


def _place(given: Settings) -> str:
    if given.output is not None:
        return given.output
    if given.recipe:
        return "merged.safetensors"
    raise UsageError(
        "say where the result goes: -o NAME.safetensors", hint="--recipe prints the recipe instead, and needs no place"
    )


def _composed(place: str, loras: Sequence[Ingredient], merge: Mapping[str, Any], given: Settings) -> Recipe:
    from loramerge.recipe.one_shot import GivenBase, format_for, recipe_of
    from loramerge.stages.base import load_base
    from loramerge.stages.probe import probe

    base = GivenBase.parse(given.base)
    known = load_base(base.source) if base.source else None
    found = probe([lora.source for lora in loras], known, family=base.family)
    source = base.source or found.source
    return recipe_of(
        Path(place).stem if Path(place).suffix == ".safetensors" else Path(place).name,
        {"source": source} if source else {"family": found.family},
        loras,
        merge,
        {"format": format_for(place, found.formats), "dtype": given.number_format},
        given.overrides,
    )


def _rows(recipe: Recipe, done: MergedLora) -> Iterator[tuple[str, str]]:
    output = recipe.outputs[0]
    ranks = _ranks(done)
    kept = f", which keeps {_share_kept(done):.1%} of the squared norm" if recipe.merge.sums_deltas else ""
    yield "rank", " to ".join(map(str, dict.fromkeys([*ranks[:1], *ranks[-1:]]))) + kept
    formats = ", ".join(dict.fromkeys(lora["format"] for lora in done.report["loras"]))
    name, family = output.default_folder, named(done.report["base"]["family"])
    yield "format", f"{name}, {output.number_format}, for {output.readers_of(family)}; what went in is {formats}"
    yield "family", title_of(done.report["base"]["family"])
    yield "size", console.size(_size(done.place))
    yield from summary.storage_rows(done.report, "--dtype {}")


def _ranks(done: MergedLora) -> list[int]:
    """Those of layers: a LoRA may have none."""
    return sorted({pair.rank for *_, pair in done.merged if pair.is_layer})


def _share_kept(done: MergedLora) -> float:
    """The share of the weighted sum's squared norm that the result has."""
    modules = [entry for part in done.report["fidelity"].values() for entry in part["modules"].values()]
    whole = sum(entry["target_norm"] ** 2 for entry in modules)
    lost = sum(((entry["error"] or 0.0) * entry["target_norm"]) ** 2 for entry in modules)
    return 1 - lost / whole if whole > 0 else 1.0


def _facts(recipe: Recipe, done: MergedLora, seconds: float) -> dict[str, Any]:
    return {
        "place": str(done.place),
        "recipe": recipe.data,
        "family": done.report["base"]["family"],
        "fidelity": dict(done.fidelity),
        "loras": done.report["loras"],
        "ranks": _ranks(done),
        "rounding": done.report["rounding"],
        "size": _size(done.place),
        "warnings": list(done.warnings),
        "seconds": round(seconds, 1),
    }


def _size(place: Path) -> int:
    return sum(file.stat().st_size for file in (place, *place.rglob("*")) if file.is_file())
