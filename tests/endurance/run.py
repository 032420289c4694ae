"""Try what may happen to a program in years, many times over: `python tests/endurance/run.py [PART ...]`.

Prints what was tried, how often, and what was lost, and ends with 1 where that is not nothing. Each part says at the
top of its file what it does. (Linux, with gcc)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import hub.environment  # noqa: E402, F401  before huggingface_hub
from endurance.clocks import jumped  # noqa: E402
from endurance.faults import READING, WRITING, failed  # noqa: E402
from endurance.kills import killed  # noqa: E402
from endurance.long import endured  # noqa: E402
from endurance.meetings import met  # noqa: E402
from endurance.poisoned import poisoned  # noqa: E402
from endurance.world import World, world  # noqa: E402

if TYPE_CHECKING:
    from endurance.told import Told


_MEMORY = Path("/dev/shm")  # noqa: S108  no disk that each fsync waits for, where there is one


def main() -> int:
    """Try each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    parser.add_argument("--step", type=int, default=1, help="try one in so many positions of calls that fail")
    parser.add_argument("--rounds", type=int, default=40, help="of each two commands that meet")
    parser.add_argument("--iterations", type=int, default=20_000, help="recipes that are planned or run in one process")
    parser.add_argument("parts", nargs="*")
    options = parser.parse_args()
    parts: dict[str, Callable[[Path], Told]] = {
        "kills": lambda root: _in_world(root, lambda place: killed(place, options.kills, options.seed)),
        "writes": lambda root: _in_world(root, lambda place: failed(place, WRITING, step=options.step)),
        "reads": lambda root: _in_world(root, lambda place: failed(place, READING, step=options.step)),
        "clocks": lambda root: _in_world(root, jumped),
        "poisoned": lambda root: _in_world(root, poisoned),
        "meetings": lambda root: _in_world(root, lambda place: met(place, options.rounds, options.seed)),
        "long": lambda root: endured(root, options.iterations),
    }
    if unknown := [name for name in options.parts if name not in parts]:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(parts)}")
    lost = False
    for name in options.parts or parts:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="endurance-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            told = parts[name](Path(folder))
        print(told.text())
        print(f"took {time.monotonic() - begin:.0f} s\n", flush=True)
        lost = lost or bool(told.lost)
    return int(lost)


def _in_world(root: Path, attempt: Callable[[World], Told]) -> Told:
    with world(root) as place:
        return attempt(place)


if __name__ == "__main__":
    sys.exit(main())
