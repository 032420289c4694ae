"""Whole processes: seconds, those of all processors, and memory at most, as a user who types the command sees them."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from measure import Figures

# What the console script does, without the script: it works where loramerge is on the path and not installed.
PROGRAM = (sys.executable, "-c", "from loramerge.cli import main; main()")
READER = """\
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(done.returncode)
"""
"""Runs a command, and says its memory at most, in MB."""


def timed(command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Figures:
    """What a command takes until it ends well: seconds, `cpu` seconds of all processors, and `peak_mb`.

    Raises:
        RuntimeError: It failed; what it said is in the message.
    """
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    reader = [sys.executable, "-S", "-c", READER, *command]
    done = subprocess.run(reader, check=False, capture_output=True, text=True, env=environment, cwd=cwd)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": used, "peak_mb": float(done.stdout)}
