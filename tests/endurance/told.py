"""What came of an attempt, counted, and what was lost in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Told:
    """What came of one part.

    Attributes:
        part: What is tried.
        counts: Group → kind → how often.
        lost: What was lost, or said wrongly: one line each.
    """

    part: str
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def count(self, group: str, *kinds: str) -> None:
        """Count one; a group that begins is told at once."""
        if group not in self.counts:
            print(f"{self.part}: {group} …", flush=True)
        self.counts.setdefault(group, Counter()).update(kinds)

    def lose(self, *words: object) -> None:
        """Say what was lost, at once as well: a part may take an hour."""
        said = " ".join(map(str, words))
        self.lost.append(said)
        print(f"LOST in {self.part}: {said}", flush=True)

    def text(self) -> str:
        """A table for each group, and what was lost."""
        kinds = list(dict.fromkeys(kind for each in self.counts.values() for kind in each))
        head = ["", *kinds]
        rows = [[group, *(f"{each[kind]:,}" for kind in kinds)] for group, each in self.counts.items()]
        total = Counter[str]()
        for each in self.counts.values():
            total.update(each)
        rows.append(["all", *(f"{total[kind]:,}" for kind in kinds)])
        return "\n".join([f"{self.part}:", *_aligned([head, *rows]), f"lost: {self.lost or 'nothing'}"])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]  # fmt: skip


def said_badly(said: str, reasons: Mapping[str, str] | None = None) -> str:
    """What is wrong with what a command said of a failure; empty if it is told as it should be.

    Args:
        said: Standard error.
        reasons: What has to be in it → why.
    """
    if "Traceback" in said:
        return "a traceback"
    if "defect of loramerge" in said:
        return "a defect"
    if "error: " not in said:
        return "no error"
    return next((why for word, why in (reasons or {}).items() if word not in said), "")
