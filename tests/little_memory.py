"""Commands that find little memory once everything that draws pictures is loaded."""

import re
import resource
from pathlib import Path

import forked

ROOM = 300 << 20  # bytes of address space


def command(*arguments: str) -> None:
    """The program with these arguments, in a fork; Linux alone limits address space so."""
    from loramerge.previews import pipeline as painter

    loaded = painter._loaded

    def limited(*given: object) -> object:
        pipeline = loaded(*given)
        used = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, -1))
        return pipeline

    painter._loaded = limited
    forked.command(*arguments)
