"""The library of shim.c: built when it is needed, and its memory, which a process shares with its forks. (Linux)"""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
CAN_BUILD = sys.platform.startswith("linux") and shutil.which("gcc") is not None


class Call(IntFlag):
    """Kinds of calls, as shim.c numbers them."""

    WRITE, SYNC, CREATE, RENAME, REMOVE, CHANGE, READ, OPEN, LIST = (1 << bit for bit in range(9))
    WRITES = WRITE | SYNC | CREATE | RENAME | REMOVE | CHANGE
    READS = READ | OPEN | LIST


@dataclass(frozen=True)
class Strike:
    """What goes wrong.

    Attributes:
        kinds: Calls that are counted.
        nth: Which of them it is, from 1; 0 counts alone.
        error: What it fails with.
        lasting: Whether all later ones fail as well.
        kill: End the process and what it began instead.
        clock_seconds: By how much the clock is off.
        clock_after: How often it is asked for before that.
    """

    kinds: Call = Call.WRITES | Call.READS
    nth: int = 0
    error: int = errno.EIO
    lasting: bool = False
    kill: bool = False
    clock_seconds: int = 0
    clock_after: int = 0


class _State(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("armed", "mask", "nth", "error", "lasting", "kill", "seen")),
        *((name, ctypes.c_long) for name in ("clock_seconds", "clock_after", "clock_calls")),
        ("below", ctypes.c_char * 1024),
        ("hit", ctypes.c_char * 1024),
    )


class Shim:
    """The memory of the library that this process was begun with."""

    def __init__(self) -> None:
        place = ctypes.CDLL(None).shim_state
        place.restype = ctypes.POINTER(_State)
        self._state = place().contents

    def prepare(self, strike: Strike, below: Path) -> None:
        """Set what goes wrong in the next fork that calls `arm`."""
        state = self._state
        state.armed = 0
        state.mask, state.nth, state.error = int(strike.kinds), strike.nth, strike.error
        state.lasting, state.kill = strike.lasting, strike.kill
        state.seen = state.clock_calls = 0
        state.clock_after, state.clock_seconds = strike.clock_after, 0
        state.below, state.hit = str(below).encode(), b""
        self._clock_seconds = strike.clock_seconds

    def arm(self) -> None:
        """From now on it goes wrong."""
        self._state.clock_seconds = self._clock_seconds
        self._state.armed = 1

    def disarm(self) -> tuple[int, str]:
        """Nothing goes wrong any more; how many calls there were, and which was hit."""
        state = self._state
        state.armed = state.clock_seconds = 0
        return state.seen, state.hit.decode(errors="replace")


def build(folder: Path) -> Path:
    """Compile it into a folder."""
    library = folder / "shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library
