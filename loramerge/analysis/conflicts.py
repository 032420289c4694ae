"""What the overlap of LoRAs means for whoever merges them, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from loramerge.analysis.notable import distinct
from loramerge.bases.anatomy import label
from loramerge.messages import counted, some

if TYPE_CHECKING:
    from loramerge.analysis.overlap import PairOverlap

OPPOSED = -0.2
"""Cosine from which on two LoRAs undo a good part of each other; those that were trained apart have less than 0.01."""
ALIKE = 0.5
"""Cosine from which on two LoRAs do much the same."""
DOMINANT = 10.0
"""How many times as large a delta is when little is seen of the other."""
MOST_OF_A_KIND = 3
"""As many pairs of LoRAs have a sentence of their own for one thing; the others are named together."""
_MOST_BLOCKS = 6


@dataclass(frozen=True)
class _Finding:
    """What two LoRAs do to each other.

    Attributes:
        names: Of both.
        size: How bad it is; compared with others of its kind alone.
        sentence: What is said of it.
    """

    names: tuple[str, str]
    size: float
    sentence: str


def conflicts(pairs: Sequence[PairOverlap]) -> list[str]:
    """A sentence for everything that should be thought over, with what to do about it; the worst where that is much.

    A LoRA that is there under several names is compared with others once: see `twins`.

    Args:
        pairs: Every pair of LoRAs, at their weights.
    """
    different = distinct(pairs)
    opposed = [found for pair in different for found in _opposed(pair)]
    alike = [found for pair in different for found in _alike(pair)]
    dominated = [found for pair in different for found in _dominated(pair)]
    return [
        *_worst(opposed, "pull in opposite directions somewhere"),
        *_worst(alike, "do much the same somewhere"),
        *_worst(dominated, "differ much in strength"),
    ]


def opposed_blocks(pair: PairOverlap) -> str:
    """The blocks in which two LoRAs undo a good part of each other, in words; empty where there is none."""
    return _chosen_blocks(_cosines(pair), lambda cosine: cosine <= OPPOSED)


def _worst(found: Sequence[_Finding], what: str) -> Iterator[str]:
    by_pair: dict[tuple[str, str], float] = {}
    for each in found:
        by_pair[each.names] = max(each.size, by_pair.get(each.names, 0.0))
    chosen = sorted(by_pair, key=lambda names: -round(by_pair[names], 3))[:MOST_OF_A_KIND]
    yield from (each.sentence for each in found if each.names in chosen)
    others = [" and ".join(names) for names in by_pair if names not in chosen]
    if others:
        yield f"{counted(len(others), 'more pair')} of LoRAs {what}: {some(others)}"


def _opposed(pair: PairOverlap) -> Iterator[_Finding]:
    if opposed := opposed_blocks(pair):
        one, other = pair.names
        sentence = (
            f"{one} and {other} pull {opposed} in opposite directions: expect one to lose; lower its weight there"
        )
        yield _Finding(pair.names, -min(_cosines(pair).values()), sentence)


def _alike(pair: PairOverlap) -> Iterator[_Finding]:
    cosines = _cosines(pair)
    if alike := _chosen_blocks(cosines, lambda cosine: cosine >= ALIKE):
        one, other = pair.names
        sentence = f"{one} and {other} do much the same in {alike}: there their weights add up; lower one of them"
        yield _Finding(pair.names, max(cosines.values()), sentence)


def _dominated(pair: PairOverlap) -> Iterator[_Finding]:
    for component, found in pair.grouped(lambda component, _: component).items():
        sizes = zip((math.sqrt(found.energy), math.sqrt(found.other_energy)), pair.names, strict=True)
        (small, weak), (large, strong) = sorted(sizes)
        if small > 0 and large >= DOMINANT * small:
            sentence = (
                f"{strong} is {large / small:.0f} times as strong as {weak} where both touch {component}: expect to "
                f"see little of {weak}; raise its weight or lower that of {strong}"
            )
            yield _Finding(pair.names, large / small, sentence)


def _cosines(pair: PairOverlap) -> dict[str, float]:
    return {name: found.cosine for name, found in pair.parts.items() if found.cosine is not None}


def _chosen_blocks(cosines: Mapping[str, float], chosen: Callable[[float], bool]) -> str:
    """The blocks that are chosen, in words; a component alone where that is all that is shared of it.

    Args:
        cosines: By block, in the base's order.
        chosen: By the cosine.
    """
    found: list[str] = []
    for component, blocks in groupby(cosines, key=lambda block: block.partition(".")[0]):
        listed = list(blocks)
        hit = [block for block in listed if chosen(cosines[block])]
        found += [component] if len(hit) == len(listed) else [label(block) for block in hit]
    return some(found, most=_MOST_BLOCKS)
