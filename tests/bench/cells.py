"""What stands in the cells of a table: seconds, ratios with their spread, megabytes; and the table itself."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def folded(title: str, columns: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table that is opened by a click, on GitHub and in MkDocs, which is told that it is Markdown."""
    return f'<details markdown="1"><summary>{title}</summary>\n\n{table(["type", *columns], body)}\n\n</details>'


def values(rows: Sequence[Row], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def between(row: Row, over: str, under: str) -> Row:
    return next(each for each in row["ratios"] if (each["over"], each["under"]) == (over, under))


def both(row: Row) -> list[str]:
    """PEFT's time, ours, and how many times as fast that is."""
    return [*(said(row, side) for side in ("PEFT", "loramerge")), f"**{spread(row['ratios'][0], row)}**"]


def compared(row: Row) -> str:
    return "{}, {}: {}".format(*both(row))


def seconds(row: Row, side: str) -> float:
    return median(row, side, "seconds")


def median(row: Row, side: str, what: str) -> float:
    return statistics.median(row["sides"][side][what])


def said(row: Row, side: str) -> str:
    return f"{number(seconds(row, side))} s"


def peak_said(row: Row, side: str) -> str:
    return f" ({memory(row, side)})" if "above_torch_mb" in row["sides"][side] else ""


def memory(row: Row, side: str) -> str:
    return megabytes(max(row["sides"][side]["above_torch_mb"]))


def spread(each: Row, row: Row) -> str:
    runs = len(row["sides"][each["over"]]["seconds"])
    return number(each["median"]) + (
        f" ({number(each['least'])} to {number(each['most'])})" if runs > 1 else " (one run)"
    )


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def megabytes(value: float) -> str:
    return f"{value:.0f} MB"


def number(value: float) -> str:
    """To three digits, two below 1."""
    for least, form in ((100, ".0f"), (10, ".1f"), (1, ".2f")):
        if value >= least:
            return format(value, form)
    return format(value, ".2g")
