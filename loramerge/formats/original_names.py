"""A LoRA in the names of the original checkpoint: parts of a fused layer become one pair, exactly."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank, balanced
from loramerge.deltas.dense import Dense
from loramerge.deltas.parameter import ParameterDelta
from loramerge.numerics.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Modules
    from loramerge.families.layout import Layout, Original


def in_original_names(layout: Layout, modules: Modules) -> Iterator[tuple[str, LowRank]]:
    """Every pair under its original name, in the order of the layers and other parameters.

    Where all parts of a fused layer read with the same `down` and have the same scale, the rank stays what it is.
    Elsewhere it is the sum of theirs. Rows of a part that nothing touches are zeros.

    Args:
        layout: What the pairs are for, in the names that are written.
        modules: Pairs by canonical name.
    """
    seen: set[str] = set()
    for module in modules:
        original = layout.by_canonical[module]
        if original.name in seen:
            continue
        seen.add(original.name)
        if original.is_whole:
            yield original.name, modules[module]
        else:
            found = {part.canonical: modules[part.canonical] for part in original.parts if part.canonical in modules}
            if any(pair.is_dense for pair in found.values()):
                yield original.name, _full(original, found)
            else:
                yield original.name, (_Shared if _share_down([*found.values()]) else _Stacked)(original, found)


def _full(original: Original, parts: Mapping[str, LowRank]) -> Dense:
    """A full difference for a whole layer; rows of a part that nothing touches are zeros."""

    def matrix() -> Tensor:
        import torch

        whole = torch.zeros(original.shape[0], math.prod(original.shape[1:]))
        for part in original.parts:
            if part.canonical not in parts:
                continue
            pair, row = parts[part.canonical].loaded(), 0
            for start, stop in part.spans:
                pair.rows_of_delta(row, row + stop - start, whole[start:stop])
                row += stop - start
        return whole.reshape(original.shape)

    is_layer = next(iter(parts.values())).is_layer
    return (Dense if is_layer else ParameterDelta)(matrix, original.shape)


def _share_down(pairs: Sequence[LowRank]) -> bool:
    first, *others = pairs
    if not all((first.scale, first.rank) == (other.scale, other.rank) for other in others):
        return False
    if not others:
        return True
    with one_thread():  # handing them to threads takes longer than comparing them
        down = first.down
        return all(other.down.equal(down) for other in others)


class _Fused(LowRank, ABC):
    """A pair for a whole layer, made of those of its parts when it is asked for.

    Args:
        original: The layer.
        parts: Pairs by canonical name, at least one.
    """

    def __init__(self, original: Original, parts: Mapping[str, LowRank]) -> None:
        object.__setattr__(self, "_original", original)
        object.__setattr__(self, "_parts", parts)
        object.__setattr__(self, "scale", self._scale())

    _original: Original
    _parts: Mapping[str, LowRank]

    @abstractmethod
    def _scale(self) -> float:
        """Of the whole."""

    @abstractmethod
    def _columns(self) -> Iterator[tuple[str, Tensor, int]]:
        """Of each part its canonical name, its `up`, and the column of the whole at which that begins."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole layer's weight."""
        return self._original.shape

    @property
    def up(self) -> Tensor:
        """Rows of the parts where they lie in the layer; those of others are zeros."""
        import torch

        whole = torch.zeros(self.factor_shapes(self.shape)[1])
        spans = {part.canonical: part.spans for part in self._original.parts}
        for name, up, column in self._columns():
            row = 0
            for start, stop in spans[name]:
                whole[start:stop, column : column + up.shape[1]] = up[row : row + stop - start]
                row += stop - start
        return whole

    @property
    def number_formats(self) -> frozenset[str]:
        """Those of all parts, and float32 where parts are multiplied to have one scale."""
        scaled = {"float32"} if any(pair.scale != self.scale for pair in self._parts.values()) else set()
        return frozenset(scaled).union(*(pair.number_formats for pair in self._parts.values()))

    def loaded(self) -> LowRank:
        """The same in memory."""
        return LowRank(self.down, self.up, self.scale)


class _Shared(_Fused):
    """Parts that read with the same `down`, as those of a LoRA do that was trained on the whole layer."""

    def _scale(self) -> float:
        return next(iter(self._parts.values())).scale

    def _columns(self) -> Iterator[tuple[str, Tensor, int]]:
        yield from ((name, pair.up, 0) for name, pair in self._parts.items())

    @property
    def rank(self) -> int:
        """That of each part."""
        return next(iter(self._parts.values())).rank

    @property
    def down(self) -> Tensor:
        """That of each part."""
        return next(iter(self._parts.values())).down


class _Stacked(_Fused):
    """Parts that have a `down` each: they stand one below the other, and the `up` halves side by side."""

    def _scale(self) -> float:
        scales = {pair.scale for pair in self._parts.values()}
        return scales.pop() if len(scales) == 1 else 1.0

    def _folded(self, pair: LowRank) -> tuple[float, float]:
        return balanced(pair.scale / self.scale)

    def _columns(self) -> Iterator[tuple[str, Tensor, int]]:
        column = 0
        for name, pair in self._parts.items():
            yield name, pair.up * self._folded(pair)[1], column
            column += pair.rank

    @property
    def rank(self) -> int:
        """The sum of the parts'."""
        return sum(pair.rank for pair in self._parts.values())

    @property
    def down(self) -> Tensor:
        """Those of the parts, one below the other."""
        import torch

        return torch.cat([pair.down * self._folded(pair)[0] for pair in self._parts.values()])
