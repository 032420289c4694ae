"""Builds the sdist and the wheel from a folder, as `make wheel` does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Package:
    """What is uploaded."""

    sdist: Path
    wheel: Path


def found(folder: Path) -> Package:
    """The one sdist and the one wheel of a folder, which holds nothing else."""
    names = sorted(path.name for path in folder.iterdir())
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    assert len(names) == 2, names
    return Package(sdist, wheel)


def build(source: Path, into: Path, **environment: str) -> Package:
    """Build the sdist of a folder, and the wheel from that; hatchling is the one that is installed here."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", into, source],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", **environment},
        check=True,
        capture_output=True,
    )
    return found(into)


def pins() -> dict[str, str]:
    """Package → version in constraints.txt."""
    return dict(re.findall(r"^([\w.-]+)==([^;\s]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
