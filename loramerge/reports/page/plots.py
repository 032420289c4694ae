"""Plots as SVG that goes into a page: text stays text, colours are the page's, the same input gives the same bytes.

The one door to matplotlib. Nothing is measured with a font, so none of the machine's shows.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

from loramerge.reports.page.colours import Colours, ColourScale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# All in units of the drawing, of which one is a pixel where there is room.
_LABEL, _HEAD, _CELL, _LINE = 92, 34, (44, 24), 10.5
_LETTER = 6.4  # as wide as those of a label get on average, in wide fonts
_BAR, _BETWEEN, _BARS = 9, 9, 268
_GAP = 1.0  # between cells
_BASE = 3.7  # from the middle of a line of text down to where it stands


@dataclass(frozen=True)
class HeatMap:
    """Values by row and column.

    Attributes:
        rows: From top to bottom.
        columns: From left to right; a label may have two lines.
        values: (row, column) → what the colour says; a cell that is absent stays empty.
        texts: (row, column) → what is written there.
        scale: From values to colours.
        neutral: What is written for the scale's neutral value.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Mapping[tuple[str, str], float]
    texts: Mapping[tuple[str, str], str]
    scale: ColourScale
    neutral: str = ""

    @property
    def everywhere(self) -> str:
        """What is written in every cell, where that is the neutral value alone: there is nothing to see then."""
        return self.neutral if {*self.texts.values()} == {self.neutral} else ""

    def svg(self, name: str, title: str) -> str:
        """Draw it.

        Args:
            name: Letters, digits and hyphens; of its own in the page.
            title: What those who can't see it are told.
        """
        colours = Colours()
        width, height, left = _CELL[0] * len(self.columns), _CELL[1] * len(self.rows), _label_width(self.rows)
        with _drawing(left + width, _HEAD + height, (left, 0, width, height)) as drawing:
            axes = drawing.axes
            axes.set_xlim(0, width)
            axes.set_ylim(height, 0)
            for number, row in enumerate(self.rows):
                base = (number + 0.5) * _CELL[1] + _BASE
                axes.text(-8, base, row, ha="right", va="baseline", color=colours.css("var(--ink)"))
                for place, column in enumerate(self.columns):
                    self._cell(axes, colours, (row, column), (place * _CELL[0], number * _CELL[1]))
            for place, column in enumerate(self.columns):
                lines = column.split("\n")
                for up, line in enumerate(reversed(lines)):
                    at = (place + 0.5) * _CELL[0], -6 - up * 12
                    axes.text(*at, line, ha="center", va="baseline", color=colours.css("var(--muted)"))
        return _embedded(drawing.text, name, title, colours)

    def _cell(self, axes: Axes, colours: Colours, key: tuple[str, str], at: tuple[float, float]) -> None:
        from matplotlib.patches import Rectangle

        (left, top), (width, height) = at, _CELL
        if key not in self.values:
            return
        fill = colours.css(self.scale.fill(self.values[key]))
        size = width - _GAP, height - _GAP
        axes.add_patch(Rectangle((left, top), *size, facecolor=fill, edgecolor="none", clip_on=False))
        at = left + width / 2, top + height / 2 + _BASE
        ink = colours.css(self.scale.text(self.values[key]))
        axes.text(*at, self.texts[key], ha="center", va="baseline", color=ink)


@dataclass(frozen=True)
class BarChart:
    """Groups of horizontal bars that start at zero.

    Attributes:
        rows: Names of the groups, from top to bottom.
        series: CSS colour of each bar of a group, from top to bottom.
        values: Row → the bars' lengths in the order of `series`; None leaves one out.
    """

    rows: Sequence[str]
    series: Sequence[str]
    values: Mapping[str, Sequence[float | None]]

    def svg(self, name: str, title: str) -> str:
        """Draw it; see `HeatMap.svg`."""
        from matplotlib.ticker import MaxNLocator

        colours = Colours()
        group = _BAR * len(self.series) + _BETWEEN
        height = group * len(self.rows)
        longest = max((value for values in self.values.values() for value in values if value), default=1.0)
        ticks = [tick for tick in MaxNLocator(4).tick_values(0, longest) if 0 <= tick <= longest * 1.05]
        scale = _BARS / max(longest, *ticks)
        left = _label_width(self.rows)
        with _drawing(left + _BARS + 20, 22 + height, (left, 0, _BARS, height)) as drawing:
            axes = drawing.axes
            axes.set_xlim(0, _BARS)
            axes.set_ylim(height, 0)
            for tick in ticks:
                grey = colours.css("var(--line)")
                axes.vlines(tick * scale, -2, height, colors=grey, linewidth=1, zorder=0, clip_on=False)
                at = tick * scale, -8
                axes.text(*at, f"{tick:g}", ha="center", va="baseline", color=colours.css("var(--muted)"))
            for number, row in enumerate(self.rows):
                top = number * group + _BETWEEN / 2
                base = top + (group - _BETWEEN) / 2 + _BASE
                axes.text(-8, base, row, ha="right", va="baseline", color=colours.css("var(--ink)"))
                self._group(axes, colours, row, top, scale)
        return _embedded(drawing.text, name, title, colours)

    def _group(self, axes: Axes, colours: Colours, row: str, top: float, scale: float) -> None:
        from matplotlib.patches import Rectangle

        for place, (colour, value) in enumerate(zip(self.series, self.values[row], strict=True)):
            if value is not None:
                corner, size = (0, top + place * _BAR), (value * scale, _BAR - _GAP)
                fill = colours.css(colour)
                axes.add_patch(Rectangle(corner, *size, facecolor=fill, edgecolor="none", clip_on=False))


def _label_width(rows: Sequence[str]) -> float:
    """The room for the labels of rows."""
    return max(_LABEL, math.ceil(12 + _LETTER * max(map(len, rows), default=0)))


class _Drawing:
    """A figure while it is drawn, and its SVG afterwards."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.text = ""


@contextmanager
def _drawing(width: float, height: float, place: tuple[float, float, float, float]) -> Iterator[_Drawing]:
    """One pair of axes at left, bottom, width and height; a unit is a point, and SVG's points are our pixels."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)  # it tells of caches and fonts, which are no concern of a merge's
    try:
        from matplotlib import rc_context, rcdefaults, rcParams
        from matplotlib.figure import Figure

        with rc_context():
            rcdefaults()  # whatever the user's own settings are
            rcParams["svg.fonttype"] = "none"
            rcParams["svg.hashsalt"] = "loramerge"
            rcParams["font.size"] = _LINE
            rcParams["text.parse_math"] = False
            figure = Figure(figsize=(width / 72, height / 72), dpi=72)
            left, bottom, wide, high = place
            axes = figure.add_axes((left / width, bottom / height, wide / width, high / height), frameon=False)
            axes.set_axis_off()
            drawing = _Drawing(axes)
            yield drawing
            out = StringIO()
            figure.savefig(out, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
            drawing.text = out.getvalue()
    finally:
        log.setLevel(level)


def _embedded(svg: str, name: str, title: str, colours: Colours) -> str:
    """A drawing as a part of a page: no prologue, no ids but those it refers to, which no other drawing has."""
    found = re.search(r'<svg [^>]*viewBox="0 0 ([0-9.]+) ([0-9.]+)"[^>]*>(.*)</svg>', svg, re.DOTALL)
    assert found is not None, svg[:400]  # noqa: S101  matplotlib's own form
    width, height, body = found.groups()
    body = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->|<defs>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;]*; | transform=\"rotate\(-0 [^)]*\)\"", "", body)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda each: f' id="{name}-{each[1]}"' if each[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body).replace("xlink:href", "href")
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    start = (
        f'<svg class="plot" id="{name}" role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}" '
        f'style="width: {float(width):g}px">'
    )
    return f"{start}\n{colours.resolved(body)}\n</svg>"
