"""Both sides in turn, each in a process of its own where peak memory counts; ratios within a run, with their spread."""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Figures = dict[str, Any]


def in_turn(runs: int, sides: Mapping[str, Callable[[], Figures]]) -> dict[str, dict[str, list[Any]]]:
    """Measure every side once in each run; another one begins each time, so that none is always the first.

    Returns:
        For each side its figures by name, one of each run.
    """
    found: dict[str, list[Figures]] = {side: [] for side in sides}
    names = list(sides)
    for run in range(runs):
        turn = run % len(names)
        for side in (*names[turn:], *names[:turn]):
            found[side].append(sides[side]())
    return {side: {key: [each[key] for each in figures] for key in figures[0]} for side, figures in found.items()}


def ratio(sides: Mapping[str, Mapping[str, Sequence[float]]], over: str, under: str, of: str = "seconds") -> Figures:
    """How many times as much one side takes as another: the median over the runs, the least and the most."""
    each = [theirs / ours for theirs, ours in zip(sides[over][of], sides[under][of], strict=True)]
    return {"over": over, "under": under, "median": statistics.median(each), "least": min(each), "most": max(each)}


@contextmanager
def stopwatch(device: str = "cpu") -> Iterator[Figures]:
    """Seconds that pass inside a `with`, and those of all processors: these say more on a busy machine."""
    figures: Figures = {}
    _wait_for(device)
    seconds, processors = time.perf_counter(), time.process_time()
    yield figures
    _wait_for(device)
    figures |= {"seconds": time.perf_counter() - seconds, "cpu": time.process_time() - processors}


def _wait_for(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def times(figures: Figures, factor: float) -> Figures:
    """All of them, multiplied."""
    return {key: value * factor for key, value in figures.items()}


def total(several: Iterable[Figures]) -> Figures:
    """Their sum, figure by figure."""
    found = list(several)
    return {key: sum(figures[key] for figures in found) for key in found[0]}


def limit(threads: int) -> None:
    """Keep this process to as many threads: torch's own, and workers by the cores they may use."""
    import torch

    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def peak_memory() -> float:
    """MB of this process at most so far; getrusage would begin with what the parent had."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def idle_torch() -> float:
    """MB of a process that has imported torch and nothing else yet."""
    import torch

    _ = torch.float32
    return peak_memory()


def told_by(script: str, settings: Mapping[str, Any]) -> Iterator[Figures]:
    """What a script of this folder says in a process of its own, object by object, as it says it.

    Raises:
        subprocess.CalledProcessError: It failed; why is on standard error.
    """
    command = [sys.executable, str(HERE / script), json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith("{"):  # libraries talk as well
                yield json.loads(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def asked(script: str, settings: Mapping[str, Any]) -> Figures:
    """The one object that a script says."""
    (figures,) = told_by(script, settings)
    return figures


def tell(answer: Callable[..., Iterable[Figures]]) -> None:
    """The other end of `told_by`: call a function with the settings that the command line brings."""
    for figures in answer(**json.loads(sys.argv[1])):
        print(json.dumps(figures), flush=True)


def sync(folder: Path) -> None:
    """Wait until every file is on the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
