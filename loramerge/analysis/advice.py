"""Which combination type to take for two LoRAs, before anything is merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.analysis.conflicts import opposed_blocks

if TYPE_CHECKING:
    from loramerge.analysis.overlap import PairOverlap


def advice(pair: PairOverlap) -> str:
    """One sentence: the type, and why.

    What it rests on is docs/methods-compared.md: in pictures no type kept more of each LoRA than `cat`, and neither
    cosines nor shared subspaces said beforehand how much that would be.

    Args:
        pair: Two LoRAs for one model.
    """
    one, other = pair.names
    if pair.same:
        return f"take one of {one} and {other}, at a higher weight: they are {pair.same}"
    if not pair.modules:
        return f"take `cat`: {one} and {other} have no module in common, and each keeps its own to the digit"
    if opposed := opposed_blocks(pair):
        return (
            f"take `cat` with weights by block: {one} and {other} undo each other in {opposed}, where no type settles "
            "which of them counts, and a weight does"
        )
    return (
        f"take `cat`: it is the weighted sum of {one} and {other} to the digit, and of all types none was measured to "
        "keep more of each LoRA; `svd` makes the file smaller"
    )
