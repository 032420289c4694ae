"""Which of many pairs of LoRAs to show to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loramerge.analysis.overlap_measures import summed

if TYPE_CHECKING:
    from loramerge.analysis.overlap import PairOverlap

MOST_PAIRS = 12
"""As many pairs are shown, those that have most to do with each other."""


def distinct(pairs: Sequence[PairOverlap]) -> list[PairOverlap]:
    """The pairs in which a LoRA that has several names goes by its first alone."""
    again = {pair.names[1] for pair in pairs if pair.same}
    return [pair for pair in pairs if again.isdisjoint(pair.names)]


def notable(pairs: Sequence[PairOverlap]) -> list[PairOverlap]:
    """The pairs to show, in their order.

    Args:
        pairs: Every pair of LoRAs.
    """
    found = distinct(pairs)
    cosines = [abs(summed(pair.modules.values()).cosine or 0.0) for pair in found]
    chosen = sorted(range(len(found)), key=lambda place: -round(cosines[place], 3))[:MOST_PAIRS]
    return [found[place] for place in sorted(chosen)]
