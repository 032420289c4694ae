"""Pairs side by side, which are exactly their weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank

if TYPE_CHECKING:
    from torch import Tensor


class Concatenated(LowRank):
    """Pairs side by side; made anew from where they lie each time a factor is asked for, and not kept.

    Args:
        pairs: At least one, of one shape.
        factors: By what each up @ down counts in the sum.
        scale: Of all together.
    """

    def __init__(self, pairs: Sequence[LowRank], factors: Sequence[float], scale: float = 1.0) -> None:
        object.__setattr__(self, "_pairs", tuple(pairs))
        object.__setattr__(self, "_factors", tuple(factors))
        object.__setattr__(self, "scale", scale)

    _pairs: tuple[LowRank, ...]
    _factors: tuple[float, ...]

    @property
    def down(self) -> Tensor:
        """The downs one above the other, each times its factor: in float64, and rounded to float32 once."""
        import numpy as np
        import torch

        found = torch.empty(self.rank, *self.shape[1:])
        start = 0
        for pair, factor in zip(self._pairs, self._factors, strict=True):
            rows = found[start : start + pair.rank]
            # NumPy converts in passing, without a copy.
            np.multiply(pair.down.numpy(), factor, out=rows.numpy(), dtype=np.float64, casting="same_kind")
            start += pair.rank
        return found

    @property
    def up(self) -> Tensor:
        """The ups side by side."""
        import torch

        return torch.cat([pair.up for pair in self._pairs], 1)

    @property
    def rank(self) -> int:
        """All ranks together."""
        return sum(pair.rank for pair in self._pairs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that the delta is added to."""
        return self._pairs[0].shape

    @property
    def number_formats(self) -> frozenset[str]:
        """Of what is made."""
        return frozenset({"float32"})

    def times(self, factor: float) -> LowRank:
        """The pair of a delta that is this one's times a factor."""
        return Concatenated(self._pairs, self._factors, self.scale * factor)

    def shaped(self, shape: tuple[int, ...]) -> LowRank:
        """The same map for a weight of an equivalent shape."""
        return Concatenated([pair.shaped(shape) for pair in self._pairs], self._factors, self.scale)

    def rows(self, spans: Sequence[tuple[int, int]]) -> LowRank:
        """The pair of some rows of the delta; nothing is read."""
        return Concatenated([pair.rows(spans) for pair in self._pairs], self._factors, self.scale)

    def loaded(self) -> LowRank:
        """The same in memory."""
        return LowRank(self.down, self.up, self.scale)
