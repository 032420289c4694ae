"""A delta of a weight that a file keeps as in×out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank
from loramerge.deltas.dense import Dense

if TYPE_CHECKING:
    from torch import Tensor


class Transposed(Dense):
    """The transpose of the delta of a linear layer.

    Its numbers are those that a weight kept as out×in gets: only the order differs in which they are computed.

    Args:
        pair: The delta, out×in.
    """

    def __init__(self, pair: LowRank) -> None:
        super().__init__(self._whole, pair.shape[::-1])
        object.__setattr__(self, "pair", pair)

    pair: LowRank

    def rows_of_delta(self, start: int, stop: int, out: Tensor) -> None:
        """Some rows of the transpose: columns of the delta."""
        import torch

        if self.pair.is_dense:
            columns = self.pair.matrix()[:, start:stop].to(out.dtype) * self.pair.scale
        else:
            columns = torch.empty(self.pair.shape[0], stop - start, dtype=out.dtype)
            some = LowRank(self.pair.down[:, start:stop], self.pair.up, self.pair.scale)
            some.rows_of_delta(0, len(columns), columns)
        out.copy_(columns.T)

    def loaded(self) -> LowRank:
        """The same in memory."""
        return Transposed(self.pair.loaded())

    def _like(self, matrix: Callable[[], Tensor], shape: tuple[int, ...], scale: float) -> Dense:
        return Dense(matrix, shape, scale)

    def _whole(self) -> Tensor:
        import torch

        found = torch.empty(self.shape)
        self.rows_of_delta(0, len(found), found)
        return found
