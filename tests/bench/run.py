"""Measure loramerge against PEFT and diffusers, both sides in one run; print rows, and write them and a table.

    python tests/bench/run.py [--quick] [--only PART] [--write figures.json]

Parts: fused, commands, files, fusing, extracting, starting, whole, merging.

Every part's own file says what it measures, and how. `--write` also writes the tables: into FILE.md beside it, or into
docs/figures.md and the README where the file is the one that they show. With `--only`, rows of other parts that are
there stay, and what the part was measured on is kept with it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import commands
import extracting
import files
import fused
import fusing
import merging
import starting
import whole
from machine import Others, machine, versions
from models import MODELS, PARAMETERS, TRANSFORMERS
from plan import QUICK, Plan
from tables import line, write

if TYPE_CHECKING:
    from measure import Figures

PARTS = {
    "fused": fused.rows,
    "commands": commands.rows,
    "files": files.rows,
    "fusing": fusing.rows,
    "extracting": extracting.rows,
    "starting": starting.rows,
    "whole": whole.rows,
    "merging": merging.rows,
}
ON_CUDA = ("files", "merging")

BUSY = 0.05  # of all processors


def main() -> None:
    """Measure what the command line says."""
    parser = _parser()
    options = parser.parse_args()
    plan = _plan(options)
    if plan.runs < 1:
        parser.error(f"--runs {plan.runs}: each side runs once or more often")
    if plan.sd_scripts and not (script := commands.script_in(plan.sd_scripts)).is_file():
        parser.error(f"--sd-scripts: there is no {script}; name a checkout of kohya-ss/sd-scripts")
    if plan.device == "cuda" and not _has_cuda():
        print("there is no CUDA device here: nothing is measured", file=sys.stderr)
        return
    begin, others, on = time.monotonic(), Others(), machine(plan.device)
    rows, stopped = [], False
    with tempfile.TemporaryDirectory(prefix="bench-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # neither helped by what earlier runs kept, nor leaving anything there
        try:
            for row in _rows(options.only or [], plan):
                print(line(row), flush=True)
                rows.append(row)
        except KeyboardInterrupt:
            stopped = True
            print(f"stopped: the {len(rows)} rows so far count", file=sys.stderr)
    share = others.share()
    measured = {
        "command": _command(sys.argv[1:]),
        "seconds": round(time.monotonic() - begin),
        "stopped": stopped,
        "machine": {**on, "threads": plan.threads, "others": None if share is None else round(share, 3)},
        "versions": versions(),
        "rows": rows,
    }
    print(f"{measured['seconds']} s; other programs took {_percent(share)} of the processors")
    if share is not None and share > BUSY:
        print("the machine was busy: measure again before anybody is shown these figures", file=sys.stderr)
    if options.write:
        write(_beside(measured, options.write) if options.only else measured, options.write)


def _beside(measured: Figures, file: Path) -> Figures:
    """What was measured, among the rows of other parts that a file has."""
    if not file.exists():
        return measured
    earlier = json.loads(file.read_text(encoding="utf-8"))
    parts = {row["part"] for row in measured["rows"]}
    others = [row for row in earlier["rows"] if row["part"] not in parts]
    if not others:
        return measured
    head = {key: value for key, value in measured.items() if key != "rows"}
    rows = sorted([*others, *measured["rows"]], key=lambda row: [*PARTS].index(row["part"]))
    return {**earlier, "apart": {**earlier.get("apart", {}), **dict.fromkeys(parts, head)}, "rows": rows}


def _rows(only: Sequence[str], plan: Plan) -> Iterator[Figures]:
    """Rows of the parts that are named, or of all. What computes on the CPU alone says so where a GPU is asked for."""
    for part in only or PARTS:
        if plan.device == "cpu" or part in ON_CUDA:
            yield from PARTS[part](plan)
        elif only:
            print(f"{part}: runs on the CPU alone, and is measured there", file=sys.stderr)
            yield from PARTS[part](replace(plan, device="cpu"))
        else:
            print(f"{part}: runs on the CPU alone, and is left out", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, in less than two minutes")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be given several times")
    parser.add_argument("--write", type=Path, metavar="FILE", help="rows as JSON, and the tables as FILE.md beside it")
    parser.add_argument("--models", nargs="+", choices=(*MODELS, *TRANSFORMERS))
    parser.add_argument("--ranks", nargs="+", type=int)
    parser.add_argument("--loras", nargs="+", type=int, choices=range(2, 6), metavar="2-5")
    parser.add_argument("--types", nargs="+", choices=PARAMETERS)
    parser.add_argument("--runs", type=int, help="how often both sides take their turn")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="of both sides; as many as there are cores by default")
    parser.add_argument("--profile", action="store_true", default=None, help="print where our merges spend their time")
    parser.add_argument("--sd-scripts", metavar="FOLDER", help="a checkout of kohya-ss/sd-scripts: its script as well")
    parser.add_argument("--cold", action="store_true", default=None, help="commands run once, with nothing before them")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    given: dict[str, Any] = {}
    for name in Plan.__dataclass_fields__:
        value = getattr(options, name, None)
        if value is not None:
            given[name] = tuple(value) if isinstance(value, list) else value
    if "types" in given:
        given["types_of_files"] = given["types"]
    return replace(QUICK if options.quick else Plan(), **given)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _command(arguments: Sequence[str]) -> str:
    """The command as it was given, without where its rows went, and where a checkout lies."""
    kept = ["--sd-scripts=FOLDER" if each.startswith("--sd-scripts=") else each for each in arguments]
    if "--sd-scripts" in kept:
        kept[kept.index("--sd-scripts") + 1] = "FOLDER"
    if "--write" in kept:
        position = kept.index("--write")
        del kept[position : position + 2]
    return " ".join(["python tests/bench/run.py", *(each for each in kept if not each.startswith("--write="))])


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    main()
