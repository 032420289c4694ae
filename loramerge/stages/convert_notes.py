"""What is to be said of a LoRA that was converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank
from loramerge.messages import counted

if TYPE_CHECKING:
    from loramerge.adapter import Adapter


_AS_THEY_WERE = {LowRank.kind, "full difference"}


def left_out(read: Adapter, written: Adapter) -> Iterator[str]:
    """What a converted LoRA lacks: parts that do nothing.

    Args:
        read: As its file has it.
        written: As it is written.
    """
    if left := len(read) - len(written):
        yield f"{left} parts of fused layers are nothing but zeros beside other parts, and were left out"


def kinds(adapter: Adapter) -> Iterator[str]:
    """Modules that are written as something else than what they were in their file."""
    changed = Counter(
        (pair.kind, pair.is_dense) for *_, pair in adapter if pair.is_layer and pair.kind not in _AS_THEY_WERE
    )
    for (kind, is_full), count in changed.items():
        what = counted(count, "full difference" if is_full else "LoRA pair")
        yield f"{counted(count, 'module')} of {kind} became {what}, with the same deltas"
