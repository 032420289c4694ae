"""A pair that stays in its file until it is asked for, so that memory does not grow with the adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.deltas.kind import Numbers


class StoredLowRank(LowRank):
    """A pair that is read when its factors are asked for, and not kept.

    Args:
        down: r×in, or r×in×kh×kw.
        up: out×r, or out×r×1×1.
        scale: As in `LowRank`.
    """

    def __init__(self, down: Numbers, up: Numbers, scale: float) -> None:
        object.__setattr__(self, "_down", down)
        object.__setattr__(self, "_up", up)
        object.__setattr__(self, "scale", scale)

    _down: Numbers
    _up: Numbers

    @property
    def down(self) -> Tensor:
        """Read from the file."""
        return self._down.load()

    @property
    def up(self) -> Tensor:
        """Read from the file."""
        return self._up.load()

    @property
    def rank(self) -> int:
        """Number of rows of `down`; nothing is read."""
        return self._down.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that the delta is added to; nothing is read."""
        return (self._up.shape[0], *self._down.shape[1:])

    @property
    def number_formats(self) -> frozenset[str]:
        """Of both factors in the file; nothing is read."""
        return self._down.number_formats | self._up.number_formats

    @property
    def place_of_down(self) -> object:
        """The tensor in its file."""
        return self._down

    def times(self, factor: float) -> LowRank:
        """The pair of a delta that is this one's times a factor."""
        return StoredLowRank(self._down, self._up, self.scale * factor)

    def shaped(self, shape: tuple[int, ...]) -> LowRank:
        """The same map for a weight of an equivalent shape."""
        down, up = self.factor_shapes(shape)
        return StoredLowRank(self._down.reshaped(down), self._up.reshaped(up), self.scale)

    def rows(self, spans: Sequence[tuple[int, int]]) -> LowRank:
        """The pair of some rows of the delta; nothing is read."""
        return StoredLowRank(self._down, self._up.rows(spans), self.scale)

    def loaded(self) -> LowRank:
        """The same in memory."""
        return LowRank(self.down, self.up, self.scale)
