"""What `merge`, `resize` and `extract` share: a recipe from options, run into one file or folder.

Some of it `convert` has as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """The options that all of them have, and those of commands that take LoRAs."""

    output: str | None
    dtype: str | None
    fp16: bool
    overrides: tuple[str, ...]
    recipe: bool
    force: bool
    as_json: bool
    verbose: bool
    base: str | None = None
    device: str = "auto"

    @property
    def number_format(self) -> str:
        """Of the file's tensors.

        Raises:
            UsageError: Two are asked for.
        """
        return number_format(self.dtype, fp16=self.fp16) or DTYPES[0]


def number_format(dtype: str | None, *, fp16: bool) -> str | None:
    """What `--dtype` and `--fp16` ask for; None where they are absent.

    Raises:
        UsageError: They ask for two.
    """
    if fp16 and dtype not in (None, "float16"):
        raise UsageError(f"--fp16 and --dtype {dtype} exclude each other", hint="leave one of them out")
    return "float16" if fp16 else dtype


def settings(command: Command) -> Command:
    """The options of `Settings`."""
    return _decorated(command, {"base": options.base, "device": options.device})


def settings_of_models(command: Command) -> Command:
    """The same for a command that takes models."""
    return _decorated(command, {})


def _decorated(command: Command, further: Mapping[str, Callable[[Command], Command]]) -> Command:
    shown: list[Callable[[Command], Command] | None] = [
        click.option(
            "-o",
            "--output",
            metavar="PLACE",
            type=options.PlaceType("a file or a folder", allow_dash=True),
            help="NAME.safetensors, or a folder in PEFT's format.",
        ),
        further.get("base"),
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            help=f"Number format of the result; {DTYPES[0]} if absent.",
        ),
        click.option("--fp16", is_flag=True, help="The same as --dtype float16."),
        options.overrides,
        further.get("device"),
        click.option("--recipe", is_flag=True, help="Print the recipe that this is, and do nothing."),
        click.option("--force", is_flag=True, help="Replace the LoRA at PLACE."),
        options.as_json,
        options.verbose,
    ]
    for decorate in reversed([*filter(None, shown)]):
        command = decorate(command)
    return command


def perform(loras: Sequence[Ingredient], merge: Mapping[str, Any], given: Settings) -> None:
    """Print the recipe, or merge it.

    Args:
        loras: What goes in.
        merge: How.
        given: The options.
    """
    perform_recipe(given, lambda place: _composed(place, loras, merge, given), _merged_rows)


def perform_recipe(
    given: Settings,
    composed: Callable[[str], Recipe],
    rows: Callable[[Recipe, MergedLora], Iterator[tuple[str, str]]],
) -> None:
    """Print a recipe, or make its one LoRA and say in rows what came of it.

    Args:
        given: The options.
        composed: Makes the recipe of the place that the LoRA goes to.
        rows: What is said besides where it is and how long it took.
    """
    from loramerge import merge as run_merge

    if given.recipe and given.as_json:
        raise UsageError("--recipe prints YAML, and --json prints JSON", hint="leave one of them out")
    place = _place(given)
    recipe = composed(place)
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
    shown = [*rows(recipe, done), ("time", f"{seconds:.1f} s")]
    console.result(f"{summary.near(done.place)}\n{console.table(shown)}")


def _place(given: Settings) -> str:
    if given.output is not None:
        return given.output
    if given.recipe:
        return "merged.safetensors"
    raise UsageError(
        "say where the result goes: -o NAME.safetensors", hint="--recipe prints the recipe instead, and needs no place"
    )


def _composed(place: str, loras: Sequence[Ingredient], merge: Mapping[str, Any], given: Settings) -> Recipe:
    from loramerge.recipe.given_base import GivenBase
    from loramerge.recipe.one_shot import format_for, recipe_of
    from loramerge.stages.base import load_base
    from loramerge.stages.probe import probe

    base = GivenBase.parse(given.base)
    known = load_base(base.source) if base.source else None
    found = probe([lora.source for lora in loras], known, family=base.family)
    source = base.source or found.source
    return recipe_of(
        Path(place).stem if Path(place).suffix == ".safetensors" else Path(place).name,
        {"source": source} if source else {"family": found.family},
        [replace(lora, is_dora=is_dora) for lora, is_dora in zip(loras, found.doras, strict=True)],
        merge,
        {"format": format_for(place, found.formats), "dtype": given.number_format},
        given.overrides,
    )


def _merged_rows(recipe: Recipe, done: MergedLora) -> Iterator[tuple[str, str]]:
    yield from summary.merge_rows(recipe, done.report, done.fidelity)
    kept = f", which keeps {_share_kept(done):.1%} of the squared norm" if recipe.merge.sums_deltas else ""
    yield "rank", ranks(done) + kept
    formats = ", ".join(dict.fromkeys(lora["format"] for lora in done.report["loras"]))
    yield from file_rows(recipe, done, f"; what went in is {formats}")


def ranks(done: MergedLora) -> str:
    """Of a LoRA's modules: `32`, or `4 to 32`."""
    found = _ranks(done)
    return " to ".join(map(str, dict.fromkeys([*found[:1], *found[-1:]])))


def file_rows(recipe: Recipe, done: MergedLora, more: str = "") -> Iterator[tuple[str, str]]:
    """What was written, in rows.

    Args:
        recipe: What was run.
        done: What came of it.
        more: What is said of the format besides.
    """
    output = recipe.outputs[0]
    name, family = output.default_folder, named(done.report["base"]["family"])
    yield "format", f"{name}, {output.number_format}, for {output.readers_of(family)}{more}"
    yield "family", title_of(done.report["base"]["family"])
    yield "size", console.size(size_of(done.place))
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
        "size": size_of(done.place),
        "warnings": list(done.warnings),
        "seconds": round(seconds, 1),
    }


def size_of(place: Path) -> int:
    """Of a file, or of all files in a folder, in bytes."""
    return sum(file.stat().st_size for file in (place, *place.rglob("*")) if file.is_file())
