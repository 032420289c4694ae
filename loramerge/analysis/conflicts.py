"""What the overlap of LoRAs means for whoever merges them, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from loramerge.bases.blocks import in_order, part_of
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.analysis.overlap import PairOverlap
    from loramerge.analysis.overlap_measures import Overlap
    from loramerge.methods import Method

OPPOSED = -0.2
"""Cosine from which on two LoRAs undo a good part of each other; those that were trained apart have less than 0.01."""
ALIKE = 0.5
"""Cosine from which on two LoRAs do much the same."""
DOMINANT = 10.0
"""How many times as large a delta is when little is seen of the other."""
_MOST_BLOCKS = 6


def conflicts(pairs: Sequence[PairOverlap], method: Method | None = None) -> list[str]:
    """A sentence for everything that should be thought over, with what to do about it.

    Args:
        pairs: Every pair of LoRAs, at their weights.
        method: How they are merged; None if that is not known yet.
    """
    return [sentence for pair in pairs for sentence in _of_pair(pair, method)]


def _of_pair(pair: PairOverlap, method: Method | None) -> Iterator[str]:
    one, other = pair.names
    cosines = {name: found.cosine for name, found in pair.grouped(part_of).items() if found.cosine is not None}
    if opposed := _chosen_blocks(cosines, lambda cosine: cosine <= OPPOSED):
        instead = "" if method is not None and method.sign_elected else " or use ties_svd"
        yield (
            f"{one} and {other} pull {opposed} in opposite directions: expect one to lose; lower its weight "
            f"there{instead}"
        )
    if alike := _chosen_blocks(cosines, lambda cosine: cosine >= ALIKE):
        yield f"{one} and {other} do much the same in {alike}: there their weights add up; lower one of them"
    for component, found in pair.grouped(lambda component, _: component).items():
        yield from _dominance(pair.names, component, found)


def _dominance(names: tuple[str, str], component: str, found: Overlap) -> Iterator[str]:
    sizes = zip((math.sqrt(found.energy), math.sqrt(found.other_energy)), names, strict=True)
    (small, weak), (large, strong) = sorted(sizes)
    if small > 0 and large >= DOMINANT * small:
        yield (
            f"{strong} is {large / small:.0f} times as strong as {weak} where both touch {component}: expect to see "
            f"little of {weak}; raise its weight or lower that of {strong}"
        )


def _chosen_blocks(cosines: Mapping[str, float], chosen: Callable[[float], bool]) -> str:
    """The blocks that are chosen, in words; a component alone where that is all that is shared of it."""
    found: list[str] = []
    for component, blocks in groupby(sorted(cosines, key=in_order), key=lambda block: block.partition(".")[0]):
        listed = list(blocks)
        hit = [block for block in listed if chosen(cosines[block])]
        found += [component] if len(hit) == len(listed) else [block.removeprefix("unet.") for block in hit]
    return some(found, most=_MOST_BLOCKS)
