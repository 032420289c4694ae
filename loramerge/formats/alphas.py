"""What is to be said of alphas that are written one for each module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.adapter import LowRank

_EXACT = 1e-12
"""Of an alpha: what a scale that was divided by a rank and multiplied with it again differs by, and some more."""


def rounded(pairs: Sequence[LowRank]) -> Iterator[str]:
    """That alphas which are no numbers of float32 were rounded, such as those of rsLoRA.

    Args:
        pairs: Those that are written.
    """
    import torch

    alphas = [pair.scale * pair.rank for pair in pairs if not pair.is_dense]
    stored = torch.tensor(alphas, dtype=torch.float32).tolist()
    if count := sum(abs(one - other) > _EXACT * abs(one) for one, other in zip(alphas, stored, strict=True)):
        yield f"the alphas of {count} modules are no numbers of float32, and were rounded, by 6e-8 of each at most"
