"""Colours that a page decides on, for a drawing that only knows fixed ones: light and dark, on a screen or on paper."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_FIRST = 0x010000  # what stands for the first one; nothing else is drawn in these


@dataclass(frozen=True)
class Colours:
    """Stand-ins for CSS colours."""

    _known: dict[str, str] = field(default_factory=dict)

    def css(self, expression: str) -> str:
        """A fixed colour that stands for a CSS one, such as `var(--ink)`."""
        return self._known.setdefault(expression, f"#{_FIRST + len(self._known):06x}")

    def resolved(self, svg: str) -> str:
        """A drawing with the CSS colours in it."""
        expressions = {stand_in: expression for expression, stand_in in self._known.items()}
        return re.sub("#01[0-9a-f]{4}", lambda found: expressions[found[0]], svg)


@dataclass(frozen=True)
class ColourScale:
    """How values become colours: from a neutral one towards another on either side.

    Attributes:
        neutral: The value that is drawn in the page's own neutral colour.
        above: The value that is drawn in `high`.
        below: The value that is drawn in `low`; the same as `neutral` where values have one side only.
        high: A CSS variable.
        low: A CSS variable.
    """

    neutral: float
    above: float
    below: float
    high: str = "--cold"
    low: str = "--warm"

    def strength(self, value: float) -> float:
        """How far from neutral, from 0 to 1."""
        end = self.above if (value - self.neutral) * (self.above - self.neutral) >= 0 else self.below
        return min((value - self.neutral) / (end - self.neutral), 1.0) if end != self.neutral else 0.0

    def fill(self, value: float) -> str:
        """The CSS colour of a value."""
        towards = self.high if (value - self.neutral) * (self.above - self.neutral) >= 0 else self.low
        return f"color-mix(in oklab, var({towards}) {self.strength(value):.0%}, var(--neutral))"

    def text(self, value: float) -> str:
        """The CSS colour that is legible on it."""
        strength = self.strength(value)
        if strength < 0.58:  # noqa: PLR2004  the neutral colour still outweighs
            return "var(--ink)"
        return "var(--on-middle)" if strength < 0.75 else "var(--on-strong)"  # noqa: PLR2004  where contrast turns
