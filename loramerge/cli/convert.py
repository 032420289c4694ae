"""`loramerge convert`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from loramerge.adapter import LowRank
from loramerge.cli import console, one_shot, options, progress, summary
from loramerge.errors import UsageError
from loramerge.families import title_of

if TYPE_CHECKING:
    from loramerge import Converted

_FLOAT32 = 1e-7
"""What a scale that is no power of two costs at most where it goes into a factor of float32."""
_FORMATS = ("comfyui", "kohya", "diffusers", "peft")


@click.command(
    epilog=options.examples(
        "loramerge convert ink.safetensors -o ink-comfyui.safetensors --format comfyui",
        "loramerge convert ink.safetensors -o ink-diffusers.safetensors --format diffusers --fp16",
        "loramerge convert hf://owner/ink -o ink --format peft --base flux",
    )
)
@click.argument("lora", metavar="LORA")
@click.option(
    "-o",
    "--output",
    metavar="PLACE",
    type=options.PlaceType("a file or a folder", allow_dash=True),
    help="NAME.safetensors, or a folder for PEFT's format.",
)
@click.option(
    "--format", "chosen", type=click.Choice(_FORMATS), help="The format to write: " + ", ".join(_FORMATS) + "."
)
@options.base
@click.option(
    "--dtype", type=click.Choice(one_shot.DTYPES), help="Number format of the result; that of the LoRA if absent."
)
@click.option("--fp16", is_flag=True, help="The same as --dtype float16.")
@click.option("--force", is_flag=True, help="Replace the LoRA at PLACE.")
@options.as_json
@options.verbose
def command(  # noqa: PLR0913  each is an option
    lora: str,
    output: str | None,
    chosen: str | None,
    base: str | None,
    dtype: str | None,
    *,
    fp16: bool,
    force: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Write a LoRA in another format, exactly.

    LORA is a file, a folder, or hf://owner/name[/file]. Factors stay what they are to the bit wherever the format can
    hold their scale, and so do ranks, trigger words and what the file says of its training. No base has to be at hand
    where the LoRA tells its family.
    """
    del verbose  # it is the command's for tracebacks alone
    from loramerge import convert
    from loramerge.recipe.one_shot import refuse_no_file, unweighted

    number_format = one_shot.number_format(dtype, fp16=fp16)
    if output is None:
        raise UsageError("say where the result goes: -o NAME.safetensors", hint="a PEFT folder has no such ending")
    if chosen is None:
        raise UsageError("say in which format: --format NAME", hint=f"one of {', '.join(_FORMATS)}")
    refuse_no_file(output)
    begin = time.monotonic()
    with progress.shown(lora, as_json=as_json) as watcher:
        done = convert(unweighted(lora), output, chosen, base=base, dtype=number_format, force=force, progress=watcher)
    seconds = time.monotonic() - begin
    if as_json:
        console.document(_converted_data(done, chosen, seconds))
        return
    for note in done.notes:
        console.warning(note)
    rows = [*_rows(done, chosen), ("time", f"{seconds:.1f} s")]
    console.result(f"{summary.near(done.place)}\n{console.table(rows)}")


def _rows(done: Converted, chosen: str) -> Iterator[tuple[str, str]]:
    yield "format", f"{chosen}, {done.dtype}; it was {done.source_format}"
    ranks = " to ".join(map(str, dict.fromkeys((done.ranks[0], done.ranks[-1])))) if done.ranks else ""
    yield "modules", f"{done.modules}, rank {ranks}" if ranks else f"{done.modules}, full differences"
    computed = any(pair.kind != LowRank.kind and not pair.is_dense for *_, pair in done.adapter)
    if done.folded or done.rounding or computed:
        yield "exact", f"deltas within {max(done.rounding, _FLOAT32):.0e}"
    else:
        yield "exact", "the same factors to the bit"
    yield "family", title_of(done.family)
    yield "size", console.size(one_shot.size_of(done.place))


def _converted_data(done: Converted, chosen: str, seconds: float) -> dict[str, Any]:
    return {
        "place": str(done.place),
        "family": done.family,
        "source_format": done.source_format,
        "format": chosen,
        "dtype": done.dtype,
        "modules": done.modules,
        "ranks": list(done.ranks),
        "folded": done.folded,
        "rounding": done.rounding,
        "size": one_shot.size_of(done.place),
        "warnings": list(done.notes),
        "seconds": round(seconds, 1),
    }
