"""Many pictures on one: a labelled row for each prompt and seed, or value, and a labelled column for each model."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_LARGEST_CELL = 512  # pixels; larger pictures are shrunk in the sheet, not in their own files
_SMALLEST_CELL = 256  # smaller ones are magnified by whole numbers, pixel for pixel
_MOST = 64_000_000  # pixels of a sheet; Pillow takes more than 89 million for an attack
_INK, _PAPER = "black", "white"


@dataclass(frozen=True)
class Row:
    """One row of a sheet.

    Attributes:
        label: What stands above it.
        pictures: The files, one for each column.
    """

    label: str
    pictures: Sequence[Path]


@dataclass(frozen=True)
class _Layout:
    """Measures in pixels; text is a share of a cell, so that it can be read however large the screen shows it."""

    cell: tuple[int, int]
    columns: int
    rows: int
    titled: bool

    @property
    def text(self) -> int:
        return max(16, round(min(self.cell[0], _LARGEST_CELL) / 16))

    @property
    def gap(self) -> int:
        return max(6, self.text // 2)

    @property
    def line(self) -> int:
        return self.text + self.gap

    @property
    def head(self) -> int:
        """Height of what stands above the first row."""
        return self.gap + self.line * (2 if self.titled else 1)

    @property
    def size(self) -> tuple[int, int]:
        return (
            self.gap + self.columns * (self.cell[0] + self.gap),
            self.head + self.rows * (self.line + self.cell[1] + self.gap),
        )

    def left(self, column: int) -> int:
        return self.gap + column * (self.cell[0] + self.gap)

    def top(self, row: int) -> int:
        return self.head + row * (self.line + self.cell[1] + self.gap)


def sheet(heads: Sequence[str], rows: Sequence[Row], *, title: str = "") -> Image.Image:
    """Put pictures onto a sheet.

    Args:
        heads: What stands above each column.
        rows: At least one; each has a picture for each column, all of one size.
        title: What stands above everything.
    """
    from PIL import Image, ImageDraw, ImageFont

    with Image.open(rows[0].pictures[0]) as first:
        layout = _Layout(_cell(first.size, len(heads) * len(rows)), len(heads), len(rows), bool(title))
    page = Image.new("RGB", layout.size, _PAPER)
    draw = ImageDraw.Draw(page)
    labels = _Labels(draw, ImageFont.load_default(size=layout.text))
    width = layout.size[0] - 2 * layout.gap
    if title:
        labels.write((layout.gap, layout.gap), title, width)
    for number, head in enumerate(heads):
        labels.write((layout.left(number), layout.head - layout.line), head, layout.cell[0])
    for number, row in enumerate(rows):
        labels.write((layout.gap, layout.top(number)), row.label, width)
        for column, path in enumerate(row.pictures):
            with Image.open(path) as picture:
                page.paste(_fitted(picture, layout.cell), (layout.left(column), layout.top(number) + layout.line))
    return page


def _cell(size: tuple[int, int], count: int) -> tuple[int, int]:
    """Size of a picture in the sheet."""
    longest = max(size)
    if longest < _SMALLEST_CELL:
        factor: float = math.ceil(_SMALLEST_CELL / longest)
    else:
        factor = min(1.0, _LARGEST_CELL / longest)
    factor *= min(1.0, math.sqrt(_MOST / (count * size[0] * size[1] * factor**2)))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _fitted(picture: Image.Image, cell: tuple[int, int]) -> Image.Image:
    from PIL import Image

    plain = picture.convert("RGB")
    magnified = cell[0] > plain.width
    return plain.resize(cell, Image.Resampling.NEAREST if magnified else Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class _Labels:
    """Writes with Pillow's own font, the same on every machine, which knows little more than ASCII."""

    draw: ImageDraw.ImageDraw
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont

    def write(self, place: tuple[int, int], text: str, width: int) -> None:
        """Write a line, cut off where the room ends."""
        line = "".join(map(self._written, " ".join(text.split())))
        if self.draw.textlength(line, font=self.font) > width:
            while line and self.draw.textlength(f"{line}...", font=self.font) > width:
                line = line[:-1]
            line += "..."
        self.draw.text(place, line, fill=_INK, font=self.font)

    def _written(self, character: str) -> str:
        """A character, or what is nearest to it among those that the font has."""
        if character.isascii():
            return character
        nearest = {"×": "x", "ß": "ss", "–": "-", "’": "'"}.get(character)
        if nearest is None:
            kept = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
            nearest = kept or "?"
        return character if self._has(character) else nearest

    def _has(self, character: str) -> bool:
        absent = self.font.getmask("\uffff")
        return bytes(self.font.getmask(character)) != bytes(absent)
