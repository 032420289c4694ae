"""The tables of whole commands: a row for each side, and the few rows that the README shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import commands
import fused
from cells import Row, median, megabytes, number, said, spread, table
from measure import ratio

TITLES = {"adapter": "Two LoRAs into one", "small merge": "A small merge", "many recipes": "Many recipes"}
_GUIDE = (
    " Diffusers' guide to merging LoRAs loads both files into a pipeline, makes PEFT folders of them, loads these "
    "into a UNet with its weights, and merges."
)
_HEAD = ["", "seconds", "processor seconds", "memory"]


def fused_tables(rows: Sequence[Row]) -> Iterator[str]:
    """`run` with a fused pipeline."""
    yield "## The whole command: a fused pipeline"
    for row in rows:
        yield (
            f"`loramerge run` of a LoRA of rank {row['rank']} on {row['layers']} layers and a pipeline of "
            f"{megabytes(row['base_mb'])} into a fused one, in which all files have their SHA-256, against diffusers' "
            "`load_lora_weights`, `fuse_lora` and `save_pretrained`, and against `cp -r` and `sha256sum`. Whole "
            "processes, imports included; what is written is on the disk in the end."
        )
        yield _sides(row)
        yield _ratios(row)


def command_tables(rows: Sequence[Row]) -> Iterator[str]:
    """`run` with adapters, small merges, many recipes."""
    yield "## The whole command: adapters"
    for row in rows:
        yield f"### {TITLES[row['what']]}"
        yield _SAID[row["what"]](row)
        yield _sides(row)
        yield _ratios(row)


_SAID = {
    "adapter": lambda row: (
        f"`run` of two LoRAs of rank {row['rank']} and float16 on {row['layers']} layers ({megabytes(row['in_mb'])}) "
        "into one, by `cat`, in kohya's names. Kohya's way is that of sdxl_merge_lora.py with `--concat`, with the "
        "libraries that it imports and with torch alone. PEFT by hand loads both, as PEFT folders, into a UNet without "
        f"weights.{_GUIDE if commands.GUIDE in row['sides'] else ''} None looks at what it reads or measures "
        "what it made."
    ),
    "small merge": lambda row: (
        f"Two LoRAs of rank {row['rank']} on {row['layers']} layers ({megabytes(row['in_mb'])}) into files for "
        "diffusers and kohya, with the full report, by PEFT."
    ),
    "many recipes": lambda _: "What `plan` takes where nothing is to be done; the recipes of the largest are new.",
}


def _sides(row: Row) -> str:
    return table(
        _HEAD,
        [
            [
                f"`{side}`" if side.startswith(("loramerge", "import", "cp")) else side,
                said(row, side),
                f"{number(median(row, side, 'cpu'))} s",
                megabytes(max(row["sides"][side]["peak_mb"])),
            ]
            for side in row["sides"]
        ],
    )


def _ratios(row: Row) -> str:
    each = zip(row["ratios"], row["cpu_ratios"], strict=True)
    return table(
        ["", "times as long", "in processor seconds"],
        [[f"{took['over']} / {took['under']}", spread(took, row), spread(used, row)] for took, used in each],
    )


def headline_rows(rows: Sequence[Row]) -> Iterator[list[str]]:
    """What the README shows of them: a command, beside it another way, and how many times as long that takes."""
    for row in rows:
        if row["part"] == "fused":
            size = f"{row['base_mb'] / 1024:.1f} GB"
            yield _against(f"a LoRA fused into a pipeline of {size}; diffusers' script", row, fused.THEIRS, fused.OURS)
            yield _against("the same; `cp -r` and `sha256sum`", row, fused.COPY, fused.OURS)
        elif row["what"] == "adapter":
            what = f"two LoRAs of rank {row['rank']} into one; kohya's way"
            yield _against(what, row, commands.KOHYA, commands.OURS)
            for side in (commands.GUIDE, commands.PEFT):
                if side in row["sides"]:
                    yield _against(f"the same; {side}", row, side, commands.OURS)


def headline_words(rows: Sequence[Row]) -> str:
    """Commands that stand beside nothing else."""
    known = {row["what"]: row for row in rows if row["part"] == "commands"}
    if not {"small merge", "many recipes"} <= known.keys():
        return ""
    small, many = known["small merge"], known["many recipes"]
    said_of = {side: f"{number(median(many, side, 'seconds'))} s" for side in many["sides"]}
    return (
        f"A small merge by PEFT with the full report takes {number(median(small, commands.SMALL, 'cpu'))} processor "
        f"seconds; `plan` of 40 recipes with nothing to do {said_of[commands.FORTY]}, `run` of them "
        f"{said_of[commands.ONCE_MORE]}, `plan` of 1,000 {said_of[commands.MANY]}."
    )


def _against(what: str, row: Row, theirs: str, ours: str) -> list[str]:
    """A row of the README."""
    took = ratio(row["sides"], theirs, ours)
    used = ratio(row["sides"], theirs, ours, "cpu")
    each = [f"{said(row, side)} ({number(median(row, side, 'cpu'))} s)" for side in (theirs, ours)]
    peaks = [megabytes(max(row["sides"][side]["peak_mb"])) for side in (theirs, ours)]
    return [what, *each, f"**{number(took['median'])}** ({number(used['median'])})", *peaks]
