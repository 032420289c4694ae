"""The plots of a page: which numbers go where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.reports.page.colours import ColourScale
from loramerge.reports.page.groups import ALL, columns_of, label, rows_of, short
from loramerge.reports.page.numbers import share, signed, small
from loramerge.reports.page.plots import BarChart, HeatMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from loramerge.bases.anatomy import Anatomy
    from loramerge.reports.page.groups import ModuleGroup

SERIES = 8
"""Colours for LoRAs: as many are drawn, the strongest."""
_ERROR = ColourScale(neutral=0.0, above=1.0, below=0.0)
_LOST = ColourScale(neutral=1.0, above=0.0, below=1.0)
_COSINE = ColourScale(neutral=0.0, above=1.0, below=-1.0)
_SHARED = ColourScale(neutral=0.0, above=1.0, below=0.0)
_CONFLICT = ColourScale(neutral=0.5, above=1.0, below=0.0, high="--warm", low="--cold")


@dataclass(frozen=True)
class Chart:
    """A plot with what is said of it.

    Attributes:
        svg: The drawing; empty where it would show nothing.
        title: What it shows.
        scale: What its ends mean, from low to high: words and CSS colours; empty where there is no scale.
        everywhere: The value that is the same in all of it, where there is no drawing.
    """

    svg: str
    title: str
    scale: Sequence[tuple[str, str]] = ()
    everywhere: str = ""


def fidelity(groups: Mapping[tuple[str, str], ModuleGroup]) -> list[Chart]:
    """Relative error by block, and where something was cut to a rank what that kept."""
    errors = _map(groups, lambda group: group.error, small, _ERROR)
    ends = _ends(_ERROR, (0.0, "0 none"), (1.0, "1 as far off as nothing at all"))
    title = "Relative error by block and kind of layer"
    charts = [*_charts(errors, "plot-fidelity", title, title, ends)]
    kept = _map(groups, lambda group: group.retained, share, _LOST)
    title = "Retained energy by block and kind of layer"
    ends = _ends(_LOST, (1.0, "1 all of it"), (0.0, "0 nothing"))
    return [*charts, *_charts(kept, "plot-retained", title, title, ends)]


def norms(groups: Mapping[tuple[str, str], ModuleGroup], loras: Sequence[str]) -> Chart:
    """Norms in and out by block: each LoRA's weighted delta, the weighted sum, the merge."""
    wholes = {label(row): groups[row, ALL] for row in rows_of(groups)}
    sizes = {name: [group.norm_of(name) or 0.0 for group in wholes.values()] for name in loras}
    there = [name for name in loras if any(sizes[name])]
    drawn = sorted(there, key=lambda name: -math.hypot(*sizes[name]))[:SERIES]
    loras = [name for name in there if name in drawn]
    values = {
        row: [*(group.norm_of(lora) for lora in loras), group.target, group.norm] for row, group in wholes.items()
    }
    title = "Norms of the deltas by block" + (f", of the {SERIES} strongest LoRAs" if len(there) > SERIES else "")
    series = series_of(loras)
    bars = BarChart(list(wholes), [colour for _, colour in series], values)
    return Chart(bars.svg("plot-norms", title), title, series)


def series_of(loras: Sequence[str]) -> list[tuple[str, str]]:
    """What the bars of the norms are, with their colours."""
    own = [(name, f"var(--series-{number + 1})") for number, name in enumerate(loras)]
    return [*own, ("weighted sum", "var(--sum)"), ("merge", "var(--ink)")]


def overlap(pair: Mapping[str, Any], number: int, anatomy: Anatomy) -> list[Chart]:
    """One pair of LoRAs by block: cosine, subspace overlap, sign conflict."""
    cells: dict[tuple[str, str], Mapping[str, Any]] = {}
    for part in anatomy.in_order(pair["blocks"]):
        found = pair["blocks"][part]
        cells |= {(part, kind): each for kind, each in found["kinds"].items()}
        cells[part, ALL] = found
    of = " and ".join(pair["loras"])
    charts: list[Chart] = []
    for name, title, value, text, scale, ends in (
        ("cosine", "Cosine", lambda each: each["cosine"], signed, _COSINE,
         ((-1.0, "-1 opposite"), (0.0, "0 unrelated"), (1.0, "1 the same"))),
        ("subspace", "Subspace overlap", subspace, share, _SHARED, ((0.0, "0 none"), (1.0, "1 one within the other"))),
        ("signs", "Sign conflict", lambda each: each["sign_conflict"], share, _CONFLICT,
         ((0.0, "0 agree"), (0.5, "0.5 unrelated"), (1.0, "1 disagree"))),
    ):  # fmt: skip
        drawn = _map(cells, value, text, scale)
        said = f"{title} of {of} by block and kind of layer"
        charts += _charts(drawn, f"plot-{number}-{name}", title, said, _ends(scale, *ends))
    return charts


def subspace(measures: Mapping[str, Any]) -> float | None:
    """The mean of what both write to and what both read."""
    both = measures["column_overlap"], measures["row_overlap"]
    return None if None in both else sum(both) / 2


def _charts(drawn: HeatMap, name: str, title: str, said: str, ends: Sequence[tuple[str, str]]) -> Iterator[Chart]:
    """The drawing, or what is the same in all of it; nothing where nothing was measured."""
    if drawn.everywhere:
        yield Chart("", title, everywhere=drawn.everywhere)
    elif drawn.values:
        yield Chart(drawn.svg(name, said), title, ends)


def _map(
    cells: Mapping[tuple[str, str], Any],
    value: Callable[[Any], float | None],
    text: Callable[[float], str],
    scale: ColourScale,
) -> HeatMap:
    found = {key: number for key, cell in cells.items() if (number := value(cell)) is not None}
    named = {(label(row), short(column)): number for (row, column), number in found.items()}
    return HeatMap(
        rows=[label(row) for row in rows_of(found)],
        columns=[short(column) for column in columns_of(found)],
        values=named,
        texts={key: text(number) for key, number in named.items()},
        scale=scale,
        neutral=text(scale.neutral),
    )


def _ends(scale: ColourScale, *ends: tuple[float, str]) -> list[tuple[str, str]]:
    return [(words, scale.fill(value)) for value, words in ends]
