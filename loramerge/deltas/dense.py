"""Full differences: what was trained, or computed, without factors.

A file has them as `.diff` (LyCORIS' full, ComfyUI's comfy/lora.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from loramerge.adapter import LowRank
from loramerge.deltas.kind import Kind, Scale, ShapeError, Shapes, Spans, Tensors
from loramerge.numerics.blocks import row_blocks

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

FLOAT32 = frozenset({"float32"})


class Dense(LowRank):
    """A delta that is no product of smaller factors.

    It has factors like every other, itself and the identity: all that is said of pairs holds for it.

    Args:
        matrix: Gives the delta without its scale, of `shape`, in float32 on the CPU.
        shape: Of the weight.
        scale: As in `LowRank`.
        kind: What it is in its file.
        trained_rank: What alpha is divided by there, where it is factored in another way.
        number_formats: Of the tensors in the file.
    """

    is_dense: ClassVar[bool] = True

    def __init__(
        self,
        matrix: Callable[[], Tensor],
        shape: tuple[int, ...],
        scale: float = 1.0,
        *,
        kind: str = "full difference",
        trained_rank: int | None = None,
        number_formats: frozenset[str] = FLOAT32,
    ) -> None:
        object.__setattr__(self, "_matrix", matrix)
        object.__setattr__(self, "_shape", shape)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "_trained_rank", trained_rank)
        object.__setattr__(self, "_number_formats", number_formats)

    _matrix: Callable[[], Tensor]
    _shape: tuple[int, ...]
    _trained_rank: int | None
    _number_formats: frozenset[str]

    @classmethod
    def of(cls, matrix: Tensor) -> Self:
        """A delta that is in memory, in float32."""
        return cls(lambda: matrix, tuple(matrix.shape))

    @classmethod
    def sum_of(cls, pairs: Sequence[LowRank], weights: Iterable[float]) -> Dense:
        """The weighted sum of deltas of one module, formed in float64 block by block, and rounded once.

        Args:
            pairs: In memory.
            weights: One for each.
        """
        import torch

        total = torch.empty(pairs[0].shape[0], math.prod(pairs[0].shape[1:]))
        factors = list(weights)
        for rows, deltas in row_blocks(pairs):
            for delta, factor in zip(deltas, factors, strict=True):
                delta.mul_(factor)
            total[rows] = torch.stack(deltas).sum(0)
        return cls.of(total.reshape(pairs[0].shape))

    def matrix(self) -> Tensor:
        """The delta without its scale, as a matrix, out×(in·kh·kw), float32."""
        return self._matrix().reshape(self._shape[0], -1)

    @property
    def rank(self) -> int:
        """The largest that a weight of the shape can have."""
        return self._most

    @property
    def _most(self) -> int:
        return min(self._shape[0], math.prod(self._shape[1:]))

    @property
    def trained_rank(self) -> int:
        """What alpha is divided by in the file."""
        return self._trained_rank or self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return self._shape

    @property
    def size(self) -> int:
        """How many numbers it takes."""
        return math.prod(self._shape)

    @property
    def number_formats(self) -> frozenset[str]:
        """Of the tensors in the file."""
        return self._number_formats

    @property
    def _is_wide(self) -> bool:
        return self._shape[0] <= math.prod(self._shape[1:])

    @property
    def down(self) -> Tensor:
        """The delta itself, or the identity."""
        import torch

        matrix = self.matrix() if self._is_wide else torch.eye(self._most)
        return matrix.reshape(self._most, *self._shape[1:])

    @property
    def up(self) -> Tensor:
        """The identity, or the delta itself."""
        import torch

        matrix = torch.eye(self._most) if self._is_wide else self.matrix()
        return matrix.reshape(self._shape[0], self._most, *(1 for _ in self._shape[2:]))

    def delta(self) -> Tensor:
        """The delta in float64, of `shape`."""
        return self.matrix().double().mul_(self.scale).reshape(self._shape)

    def rows_of_delta(self, start: int, stop: int, out: Tensor) -> None:
        """Some rows of the delta."""
        out.copy_(self.matrix()[start:stop]).mul_(self.scale)

    def times(self, factor: float) -> LowRank:
        """The delta times a factor."""
        return self._like(self._matrix, self._shape, self.scale * factor)

    def shaped(self, shape: tuple[int, ...]) -> LowRank:
        """The same map for a weight of an equivalent shape."""
        return self._like(self._matrix, shape, self.scale)

    def rows(self, spans: Sequence[tuple[int, int]]) -> LowRank:
        """Some rows of the delta, in the order given."""
        import torch

        height = sum(stop - start for start, stop in spans)
        return self._like(
            lambda: torch.cat([self.matrix()[start:stop] for start, stop in spans]),
            (height, *self._shape[1:]),
            self.scale,
        )

    def equals(self, other: LowRank) -> bool:
        """Whether both are the same numbers with the same scale."""
        if (self.scale, self.shape, self.is_dense) != (other.scale, other.shape, other.is_dense):
            return False
        return self.matrix().equal(other.matrix())

    def kept(self, keep: Callable[[Tensor], Callable[[], Tensor]]) -> Dense:
        """The same with its numbers elsewhere.

        Args:
            keep: Puts a tensor where it is to wait, and returns what reads it.
        """
        return self._like(keep(self._matrix()), self._shape, self.scale)

    def loaded(self) -> LowRank:
        """The same in memory."""
        matrix = self._matrix()
        return self._like(lambda: matrix, self._shape, self.scale)

    def _like(self, matrix: Callable[[], Tensor], shape: tuple[int, ...], scale: float) -> Dense:
        return type(self)(
            matrix,
            shape,
            scale,
            kind=self.kind,
            trained_rank=self._trained_rank,
            number_formats=self._number_formats,
        )


class FullDifference(Kind):
    """`.diff`: the delta as it is. No alpha counts, as in LyCORIS and ComfyUI."""

    title = "full difference"
    roles = ((("diff",),),)

    @classmethod
    def shape(cls, shapes: Shapes) -> tuple[int, ...]:
        """That of the tensor."""
        if not math.prod(shapes["diff"]) or not shapes["diff"]:
            raise ShapeError("{diff} should have as many numbers as the weight")
        return shapes["diff"]

    @classmethod
    def made(cls, tensors: Tensors, spans: Spans, scale: Scale) -> LowRank:
        """The delta."""
        del scale
        stored = tensors["diff"]
        cls.shape({"diff": stored.shape})
        rows = stored.rows(spans) if spans else stored
        return Dense(rows.load, rows.shape, number_formats=stored.number_formats)
