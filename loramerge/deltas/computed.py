"""A low-rank pair whose factors are computed from a file when they are asked for, and not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank

if TYPE_CHECKING:
    from torch import Tensor

Factors = Callable[[], "tuple[Tensor, Tensor]"]
"""Gives (down, up): r×in… and out×r…, float32 on the CPU."""


class ComputedLowRank(LowRank):
    """The exact factors of a delta that its file has in another form.

    Args:
        factors: Computes them.
        shape: Of the weight.
        rank: Of the factors.
        scale: As in `LowRank`.
        kind: What it is in its file.
        trained_rank: What alpha is divided by there; the rank of the factors where there is no such thing.
        number_formats: Of the tensors in the file.
    """

    def __init__(
        self,
        factors: Factors,
        shape: tuple[int, ...],
        rank: int,
        scale: float,
        *,
        kind: str,
        trained_rank: int | None,
        number_formats: frozenset[str],
    ) -> None:
        object.__setattr__(self, "_factors", factors)
        object.__setattr__(self, "_shape", shape)
        object.__setattr__(self, "_rank", rank)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "_trained_rank", trained_rank or rank)
        object.__setattr__(self, "_number_formats", number_formats)

    _factors: Factors
    _shape: tuple[int, ...]
    _rank: int
    _trained_rank: int
    _number_formats: frozenset[str]

    @property
    def down(self) -> Tensor:
        """Computed."""
        return self.loaded().down

    @property
    def up(self) -> Tensor:
        """Computed."""
        return self.loaded().up

    @property
    def rank(self) -> int:
        """Of the factors; nothing is computed."""
        return self._rank

    @property
    def trained_rank(self) -> int:
        """What alpha is divided by in the file."""
        return self._trained_rank

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight; nothing is computed."""
        return self._shape

    @property
    def number_formats(self) -> frozenset[str]:
        """Of the tensors in the file."""
        return self._number_formats

    def times(self, factor: float) -> LowRank:
        """The pair of a delta that is this one's times a factor."""
        return self._like(self._factors, self._shape, self.scale * factor)

    def shaped(self, shape: tuple[int, ...]) -> LowRank:
        """The same map for a weight of an equivalent shape."""
        down, up = self.factor_shapes(shape)

        def factors() -> tuple[Tensor, Tensor]:
            computed = self._factors()
            return computed[0].reshape(down), computed[1].reshape(up)

        return self._like(factors, shape, self.scale)

    def rows(self, spans: Sequence[tuple[int, int]]) -> LowRank:
        """The pair of some rows of the delta."""

        def factors() -> tuple[Tensor, Tensor]:
            rows = self.loaded().rows(spans)
            return rows.down, rows.up

        height = sum(stop - start for start, stop in spans)
        return self._like(factors, (height, *self._shape[1:]), self.scale)

    def loaded(self) -> LowRank:
        """The same in memory."""
        down, up = self._factors()
        down_shape, up_shape = self.factor_shapes(self._shape)
        return LowRank(down.reshape(down_shape), up.reshape(up_shape), self.scale)

    def _like(self, factors: Factors, shape: tuple[int, ...], scale: float) -> ComputedLowRank:
        return ComputedLowRank(
            factors,
            shape,
            self._rank,
            scale,
            kind=self.kind,
            trained_rank=self._trained_rank,
            number_formats=self._number_formats,
        )
