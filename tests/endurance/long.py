"""Days of work in one process: a folder of many recipes is planned, run and verified again and again.

Memory, open files, threads and what lies in temporary folders and caches are looked at every so often. The first part
of the run fills what is kept on purpose; from then on a line is laid through each of them, and may not rise.
"""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import psutil
import tiny
from command_line import write_recipe
from endurance.told import Told
from endurance.world import write_lora

from loramerge import plan, read_recipes, run

SETTLED = 0.25
"""Share of the run after which nothing may grow any more."""


@dataclass(frozen=True)
class Sample:
    """What a process holds at a moment.

    Attributes:
        iteration: How many recipes were planned or run so far.
        memory: Resident, in MiB.
        files: Open.
        threads: Of Python and of the system.
        temporary: Entries in the temporary folder.
        kept: Files below the cache folder.
        litter: Names below the working folder that end in `.partial`.
    """

    iteration: int
    memory: float
    files: int
    threads: int
    temporary: int
    kept: int
    litter: int

    @classmethod
    def taken(cls, iteration: int, root: Path) -> Sample:
        """Now."""
        gc.collect()
        process = psutil.Process()
        return cls(
            iteration,
            process.memory_info().rss / 2**20,
            process.num_fds(),
            max(process.num_threads(), threading.active_count()),
            len(list((root / "tmp").iterdir())),
            sum(path.is_file() for path in (root / "cache").rglob("*")),
            sum(path.name.endswith(".partial") for path in (root / "work").rglob("*.partial")),
        )


ALLOWED = {"memory": 2.0, "files": 0.5, "threads": 0.5, "temporary": 0.5, "kept": 0.5, "litter": 0.5}
"""What a thousand iterations may add, by the line through the samples."""


def endured(root: Path, iterations: int, recipes: int = 1000, samples: int = 20) -> Told:
    """Plan and run so often.

    Args:
        root: A folder of its own.
        iterations: Recipes that are planned or run, all in all: each run is one, and each plan.
        recipes: Of which one file of a matrix consists.
        samples: How many are taken.
    """
    told = Told("long runs")
    _prepare(root, recipes)
    before = {name: os.environ.get(name) for name in ("XDG_CACHE_HOME", "TMPDIR")}
    os.environ |= {"XDG_CACHE_HOME": str(root / "cache"), "TMPDIR": str(root / "tmp")}
    begin = time.monotonic()
    try:
        taken = _work(root, iterations, recipes, samples, told)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    print(_table(taken))
    print(f"{iterations} iterations in {time.monotonic() - begin:.0f} s")
    _judge(taken, told)
    return told


def _prepare(root: Path, recipes: int) -> None:
    for name in ("tmp", "cache", "work"):
        (root / name).mkdir(parents=True)
    shutil.copytree(tiny.folder("sd15"), root / "work" / "base")
    for seed, name in enumerate("ab"):
        write_lora(root / "work" / f"{name}.safetensors", seed)
    loras = {"a": "a.safetensors", "b": "b.safetensors"}
    side = -(-recipes // 10)
    matrix = {
        "loras.a.weight": [round(0.01 * (each + 1), 2) for each in range(side)],
        "loras.b.weight": [*range(1, 11)],
    }
    write_recipe(root / "work", base="base", loras=loras, matrix=matrix, license="mit")


def _work(root: Path, iterations: int, recipes: int, samples: int, told: Told) -> list[Sample]:
    """Each round plans one recipe and runs it, and reads all of them anew after the last one."""
    taken: list[Sample] = []
    every = max(1, iterations // samples)
    done = 0
    while done < iterations:
        for recipe in read_recipes(root / "work" / "small.yaml")[:recipes]:
            out = root / "work" / "dist" / recipe.name
            plan(recipe, out=out)
            run(recipe, out=out, device="cpu")
            for kind in ("plan", "run"):
                told.count(kind, "iterations")
                done += 1
                if done % every == 0:
                    taken.append(Sample.taken(done, root))
            if done >= iterations:
                break
    return taken


def slopes(taken: Sequence[Sample]) -> dict[str, float]:
    """What a thousand iterations add to each, once the process has settled."""
    settled = [each for each in taken if each.iteration >= SETTLED * taken[-1].iteration]
    at = np.array([each.iteration for each in settled]) / 1000
    return {name: float(np.polyfit(at, [getattr(each, name) for each in settled], 1)[0]) for name in ALLOWED}


def _judge(taken: Sequence[Sample], told: Told) -> None:
    for name, slope in slopes(taken).items():
        print(f"  {name}: {slope:+.3f} for each 1,000 iterations")
        if slope > ALLOWED[name]:
            told.lose(f"{name} grows by {slope:.2f} for each 1,000 iterations")


def _table(taken: Sequence[Sample]) -> str:
    head = [field.name for field in fields(Sample)]
    rows = [head, *([f"{each:,.0f}" for each in astuple(sample)] for sample in taken)]
    return "\n".join("  ".join(cell.rjust(10) for cell in row) for row in rows)
