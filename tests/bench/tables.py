"""Rows as text: a line on the terminal, tables in Markdown, and their places in docs/figures.md and the README.

`python tests/bench/tables.py` writes the tables again from the rows that are kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cells import (
    Row,
    between,
    both,
    compared,
    count,
    folded,
    median,
    megabytes,
    memory,
    number,
    peak_said,
    said,
    seconds,
    spread,
    table,
    values,
)
from process_tables import command_tables, fused_tables, headline_rows, headline_words
from steps import MERGING, REST

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from marked import inserted  # noqa: E402 - it lies above this folder

README = HERE.parents[1] / "README.md"
PAGE = HERE.parents[1] / "docs" / "figures.md"
FIGURES = HERE / "figures.json"  # the rows that both show
MARK = "figures"
TITLES = {
    "tiny": "tiny UNet",
    "small": "SD 1.5 with half of its channels",
    "sd15": "SD 1.5",
    "sdxl": "SDXL",
    "flux": "FLUX.1",
}
USUAL_RANK = 32


def write(measured: Mapping[str, Any], file: Path) -> None:
    """Rows into a file, tables beside it; those of the file that is shown go into docs/figures.md and the README."""
    file.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    if file.resolve() != FIGURES:
        file.with_suffix(".md").write_text(markdown(measured), encoding="utf-8", newline="\n")
        return
    for path, text in pages(measured).items():
        path.write_text(text, encoding="utf-8", newline="\n")


def pages(measured: Mapping[str, Any]) -> dict[Path, str]:
    """The pages that show figures, as they should be: all tables in one, a few rows in the README."""
    blocks = {PAGE: markdown(measured), README: headline(measured)}
    return {path: inserted(path.read_text(encoding="utf-8"), MARK, block) for path, block in blocks.items()}


def line(row: Row) -> str:
    """A row for the terminal."""
    title = [f"{row[key]}" for key in ("part", "model", "type", "what") if key in row]
    title += [f"{name} {row[key]}" for key, name in (("rank", "rank"), ("loras", "LoRAs")) if key in row]
    sides = [f"{side} {number(seconds(row, side))} s{peak_said(row, side)}" for side in row["sides"]]
    ratios = [f"{each['over']} / {each['under']}: {spread(each, row)}" for each in row["ratios"]]
    return f"{' '.join(title)}: {', '.join(sides)}; {'; '.join(ratios)}"


def markdown(measured: Mapping[str, Any]) -> str:
    """All tables, with what they were measured on and the command."""
    parts: dict[str, list[Row]] = {}
    for row in measured["rows"]:
        parts.setdefault(row["part"], []).append(row)
    apart = measured.get("apart", {})
    blocks = [_head(measured)]
    for part, tables in (("fused", fused_tables), ("commands", command_tables)):
        if part in parts:
            title, *rest = tables(parts[part])
            blocks += [title, *([_head(apart[part])] if part in apart else []), *rest]
    blocks += _main_table(parts)
    fusing = partial(_fusing, threads=measured["machine"]["threads"])
    for part, block in (
        ("merging", _merging),
        ("files", _files),
        ("fusing", fusing),
        ("extracting", _extracting),
        ("starting", _starting),
        ("whole", _whole),
    ):
        if part in parts:
            title, *rest = block(parts[part])
            blocks += [title, *([_head(apart[part])] if part in apart else []), *rest]
    return "\n\n".join(blocks) + "\n"


def headline(measured: Mapping[str, Any]) -> str:
    """A few rows for the README: whole commands beside others, and what those take that stand beside nothing."""
    rows = [row for row in measured["rows"] if row["part"] in {"fused", "commands"}]
    on = measured.get("apart", {}).get("fused", measured)["machine"]
    busy = "" if not on["others"] else f"Other programs took {on['others']:.0%} of the processors meanwhile."
    head = ["whole `run`, SDXL; beside it", "that", "loramerge", "times as fast", "memory: that", "loramerge"]
    words = [headline_words(rows), f"On {on['cores']} shared cores of an {on['processor']}, without a GPU.", busy]
    return f"{table(head, [*headline_rows(rows)])}\n\n{' '.join(filter(None, words))}"


def _head(measured: Mapping[str, Any]) -> str:
    on, of = measured["machine"], measured["versions"]
    processor = f"{on['cores']} cores of an {on['processor']} ({on['architecture']}, {on['memory_gb']:.0f} GB)"
    if "gpu" in on:
        processor += f" with an {on['gpu']}"
    libraries = ", ".join(f"{name} {version}" for name, version in of.items() if name not in {"python", "loramerge"})
    meanwhile = "" if on["others"] is None else f" Other programs took {on['others']:.0%} of the processors meanwhile."
    minutes = count(max(1, round(measured["seconds"] / 60)), "minute")
    stopped = " (it was stopped before its end)" if measured.get("stopped") else ""
    return (
        f"`{measured['command']}` measured this in {minutes}{stopped} on {processor}, "
        f"{count(on['threads'], 'thread')} a side, with Python {of['python']}, {libraries}.{meanwhile} Both sides ran "
        "in turn. Times are medians; ratios are medians of those within a run, with the least and the most. LoRAs are "
        "random, of float32, on all layers of the UNet's transformers."
    )


def _main_table(parts: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """The types side by side: the merge itself, and from files to file."""
    whole = {row["type"]: row for row in _main_rows(parts.get("files", ()))}
    if not whole:
        return
    of = next(iter(whole.values()))
    itself = {row["type"]: row for row in parts.get("merging", ()) if _key(row) == _key(of)}
    yield f"## Merging {_setting(of)}: {of['layers']} layers"
    yield (
        "First the merge itself, then a whole `run` from files to file, with the process's peak memory above what "
        "`import torch` takes. What is sampled is said below."
    )
    head = ["type", "PEFT", "loramerge", "times as fast", "files: PEFT", "loramerge", "times as fast"]
    head += ["memory: PEFT", "loramerge"]
    yield table(
        head,
        [
            [
                f"`{name}`",
                *(both(itself[name]) if name in itself else ["", "", ""]),
                *both(row),
                *(memory(row, side) for side in ("PEFT", "loramerge")),
            ]
            for name, row in whole.items()
        ],
    )


def _main_rows(files: Sequence[Row]) -> list[Row]:
    """Those of the setting that is measured for all types, which come first."""
    return [row for row in files if _key(row) == _key(files[0])]


def _key(row: Row) -> tuple[str, int, int]:
    return row["model"], row["rank"], row["loras"]


def _setting(row: Row) -> str:
    return f"{row['loras']} LoRAs of rank {row['rank']} for {TITLES[row['model']]}"


def _merging(rows: Sequence[Row]) -> Iterator[str]:
    yield "## The merge itself"
    yield (
        "`engine: factored` against PEFT's `add_weighted_adapter`, in memory, without reading and writing. In a cell: "
        "PEFT's time, ours, and how many times as fast that is. Types that cut a delta to a rank would take PEFT "
        "hours: it merges one layer of each shape, which counts as often as the UNet has that shape (with "
        "`svd_full_matrices: false`, PEFT's faster choice). For `*_svd` ours merges as many of each shape as there "
        "are threads, counted likewise. For the others, and for ours in `svd`, both sides merge the number of layers "
        "in the last row, every nth of each shape, and the time is that of all by the number of values."
    )
    models = sorted(values(rows, "model"), key=list(TITLES).index)
    for model in models:
        here = [row for row in rows if row["model"] == model]
        columns = sorted({(row["loras"], row["rank"]) for row in here})
        found = {(row["type"], row["loras"], row["rank"]): row for row in here}
        body = [
            [f"`{name}`", *(compared(found[(name, *column)]) if (name, *column) in found else "" for column in columns)]
            for name in values(here, "type")
        ]
        merged = {column: next(row for row in here if (row["loras"], row["rank"]) == column) for column in columns}
        body.append(["layers merged", *(f"{row['merged']} of {row['layers']}" for row in merged.values())])
        yield folded(f"{TITLES[model]}", [f"{loras} LoRAs, rank {rank}" for loras, rank in columns], body)
    yield from _steps(rows, models)
    yield from _growth(rows, models)


def _steps(rows: Sequence[Row], models: Sequence[str]) -> Iterator[str]:
    """Where ours spends its time, for the number of LoRAs and the ranks at both ends."""
    found = [row for row in rows if row.get("steps")]
    if not found:
        return
    yield (
        "The floor is the least that a merge can't do without: copying or adding up the factors; partitioning each of "
        "them, or drawing a byte for every value, where a type prunes; Gram matrices in float64 for `svd`; for "
        "`*_svd` the same on the dense deltas, and the Gram matrix of their sum in float32. It uses as many threads. "
        "Beside it, where ours spends its time on one thread, in parts of the whole:"
    )
    steps = [step for step in (*MERGING, REST) if any(row["steps"].get(step) for row in found)]
    for model in models:
        body = [
            [
                f"`{row['type']}`, {row['loras']} LoRAs, rank {row['rank']}",
                *(_above_floor(row) if "floor" in row["sides"] else ["", ""]),
                *(_part(row["steps"], step) for step in steps),
            ]
            for row in found
            if row["model"] == model
        ]
        yield folded(TITLES[model], ["floor", "times the floor", *steps], body)


def _above_floor(row: Row) -> list[str]:
    return [said(row, "floor"), spread(between(row, "loramerge", "floor"), row)]


def _part(steps: Mapping[str, float], step: str) -> str:
    return f"{steps[step] / sum(steps.values()):.0%}" if step in steps else ""


def _growth(rows: Sequence[Row], models: Sequence[str]) -> Iterator[str]:
    ranks, counts = sorted(values(rows, "rank")), sorted(values(rows, "loras"))
    rank = min(ranks, key=lambda each: abs(each - USUAL_RANK))
    steps = [
        (f"rank {ranks[0]} to {ranks[-1]}", (models[-1], ranks[0], counts[0]), (models[-1], ranks[-1], counts[0])),
        (f"{counts[0]} to {counts[-1]} LoRAs", (models[-1], rank, counts[0]), (models[-1], rank, counts[-1])),
        (
            f"{TITLES[models[0]]} to {TITLES[models[-1]]}",
            (models[0], rank, counts[0]),
            (models[-1], rank, counts[0]),
        ),
    ]
    found = {(row["model"], row["rank"], row["loras"], row["type"]): row for row in rows}
    types = values(rows, "type")
    steps = [
        step
        for step in steps
        if step[1] != step[2] and all((*place, name) in found for place in step[1:] for name in types)
    ]
    if not steps:
        return

    def growth(name: str, before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
        less, more = found[(*before, name)], found[(*after, name)]
        return ", ".join(f"{side} {number(seconds(more, side) / seconds(less, side))}" for side in more["sides"])

    body = [[f"`{name}`", *(growth(name, before, after) for _, before, after in steps)] for name in types]
    yield "How the time grows, in times as long:"
    yield table(["type", *(title for title, _, _ in steps)], body)


def _files(rows: Sequence[Row]) -> Iterator[str]:
    yield "## From files to file"
    yield (
        "A whole `run` with `report: brief` (it also hashes, checks, measures the fidelity, writes report.json and "
        "provenance) against PEFT by "
        "hand: load the LoRAs into a model without weights, merge, save. Both files are on the disk in the end; "
        "imports are not counted. Where a type cuts a delta to a rank, PEFT's time is what it takes to load and save, "
        "and its sampled merge."
    )
    first = _main_rows(rows)
    yield from _where(first)
    for row in first:
        if "full report" in row["sides"]:
            yield f"With `report: full`, `{row['type']}` takes {said(row, 'full report')} on {_setting(row)}."
    others = [row for row in rows if row not in first]
    if others:
        name = others[0]["type"]
        yield f"How time and memory of `{name}` grow:"
        yield table(
            ["", "read", "PEFT", "loramerge", "times as fast", "memory: PEFT", "loramerge"],
            [
                [
                    _setting(row),
                    megabytes(row["input_mb"]),
                    *both(row),
                    *(memory(row, side) for side in ("PEFT", "loramerge")),
                ]
                for row in rows
                if row["type"] == name
            ],
        )


def _where(rows: Sequence[Row]) -> Iterator[str]:
    """What no run can do without, and what each step of ours takes."""
    yield (
        "The floor is what the bytes alone take: every input read once for its SHA-256, and as many bytes as come out "
        "written with theirs. The rest goes where it says, in seconds of one processor; two work at a time."
    )
    steps = list(dict.fromkeys(step for row in rows for step in row["steps"]))
    yield table(
        ["type", "floor", "times the floor", *steps],
        [
            [
                f"`{row['type']}`",
                *_above_floor(row),
                *(number(row["steps"][step]) if step in row["steps"] else "" for step in steps),
            ]
            for row in rows
        ],
    )


def _fusing(rows: Sequence[Row], threads: int) -> Iterator[str]:
    yield "## Fusing"
    yield (
        "A LoRA into a float16 model, from files to files that are on the disk in the end: as `run` does for a "
        "`pipeline` output, SHA-256 included, against diffusers' `fuse_lora` and `save_pretrained`, against copying "
        "the file, and against a copy with its SHA-256. Imports are not counted; memory is the whole process's."
    )
    head = ["", "loramerge", "diffusers", "times as fast", "copy", "times the copy", "copy and SHA-256"]
    head += ["times that", "loramerge's memory", "diffusers' memory"]
    yield table(
        head,
        [
            [
                f"{TITLES[row['model']]}, {megabytes(row['file_mb'])}, rank {row['rank']}",
                said(row, "loramerge"),
                said(row, "diffusers"),
                spread(between(row, "diffusers", "loramerge"), row),
                said(row, "copy"),
                spread(between(row, "loramerge", "copy"), row),
                said(row, "digest"),
                spread(between(row, "loramerge", "digest"), row),
                *(megabytes(max(row["sides"][side]["peak_mb"])) for side in ("loramerge", "diffusers")),
            ]
            for row in rows
        ],
    )
    yield (
        "Where ours spends its time, in seconds of one processor. Below what a copy with SHA-256 takes of all "
        "processors together, and the sums alone, no way of fusing can get: the floor is these, shared by the threads "
        "that there are."
    )
    steps = list(dict.fromkeys(step for row in rows for step in row["steps"]))
    body = []
    for row in rows:
        floor = sum(median(row, side, "cpu") for side in ("digest", "sums")) / threads
        times = number(seconds(row, "loramerge") / floor)
        parts = (number(row["steps"][step]) if step in row["steps"] else "" for step in steps)
        body.append([TITLES[row["model"]], f"{number(floor)} s", times, *parts])
    yield table(["", "floor", "times the floor", *steps], body)


def _extracting(rows: Sequence[Row]) -> Iterator[str]:
    yield "## A LoRA from a fine-tune"
    yield (
        "The layers of the UNet's transformers, base and fine-tune in float16, against the method of kohya's "
        "`extract_lora_from_models.py`: a full `torch.linalg.svd` of each difference in float32, factors clamped at "
        "their 0.99 quantile. Some layers of each shape are extracted, and each counts as often as the UNet has that "
        "shape. The error is that of the factors, ‖difference - up·down‖ / ‖difference‖."
    )
    theirs, ours = rows[0]["sides"]
    yield table(
        ["", theirs, ours, "times as fast", f"error: {theirs}", ours, f"{ours}'s memory"],
        [
            [
                f"{TITLES[row['model']]}, {row['layers']} layers, rank {row['rank']}",
                said(row, theirs),
                said(row, ours),
                f"**{spread(row['ratios'][0], row)}**",
                *(f"{row['sides'][side]['error'][0]:.3f}" for side in (theirs, ours)),
                megabytes(max(row["sides"][ours]["peak_mb"])),
            ]
            for row in rows
        ],
    )


def _whole(rows: Sequence[Row]) -> Iterator[str]:
    yield "## The whole command, for families of real sizes"
    yield (
        "`loramerge merge` of two LoRAs of float16 on every layer, in original names, by `cat`, with `--fp16`: whole "
        "processes. Beside it a Python that imports torch, reads the same files and writes as many bytes; and the way "
        "of kohya's `flux_merge_lora.py`, which puts the factors side by side. Neither looks at what it reads, "
        "measures what it made, or takes a fused layer apart."
    )
    yield table(
        ["", "in", "out", *rows[0]["sides"], "times the bytes", "memory"],
        [
            [
                f"`{row['model']}`, {row['layers']} layers, rank {row['rank']}",
                megabytes(row["in_mb"]),
                megabytes(row["out_mb"]),
                *(said(row, side) for side in row["sides"]),
                spread(row["ratios"][0], row),
                megabytes(max(row["sides"]["loramerge merge"]["peak_mb"])),
            ]
            for row in rows
        ],
    )


def _starting(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Starting"
    yield (
        "Whole processes; `run` merges the quickstart's two LoRAs by `engine: factored` into a diffusers and a kohya "
        "file. With an empty cache diffusers and transformers are loaded to say what the base consists of."
    )
    yield table(
        ["", "", "beside", "", "times as long"],
        [
            [
                f"`{each['over']}`",
                said(row, each["over"]),
                f"`{each['under']}`",
                said(row, each["under"]),
                spread(each, row),
            ]
            for row in rows
            for each in row["ratios"]
        ],
    )


def _main(say: Callable[[str], object] = print) -> None:
    write(json.loads(FIGURES.read_text(encoding="utf-8")), FIGURES)
    say(f"wrote docs/{PAGE.name} and {README.name}")


if __name__ == "__main__":
    _main()
