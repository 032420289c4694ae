"""What is to be said of a LoRA that was converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank
from loramerge.messages import counted

if TYPE_CHECKING:
    from loramerge.adapter import Adapter


def left_out(read: Adapter, written: Adapter) -> Iterator[str]:
    """What a converted LoRA lacks: parts that do nothing.

    Args:
        read: As its file has it.
        written: As it is written.
    """
    if left := len(read) - len(written):
        yield f"{left} parts of fused layers are nothing but zeros beside other parts, and were left out"


def kinds(adapter: Adapter) -> Iterator[str]:
    """Modules that were no LoRA in their file."""
    for kind, count in Counter(pair.kind for *_, pair in adapter if pair.kind != LowRank.kind).items():
        full = any(pair.is_dense for *_, pair in adapter if pair.kind == kind)
        yield f"{counted(count, 'module')} of {kind}: {'full differences' if full else 'LoRA'} with the same deltas now"
