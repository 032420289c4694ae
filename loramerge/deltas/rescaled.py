"""What a DoRA adds to a weight, and what a weighted sum of DoRAs and LoRAs does: G∘W + P, with P a low-rank pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank
from loramerge.deltas.dense import FLOAT32, Dense

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.deltas.kind import Numbers

Parts = Callable[[], "tuple[Tensor, LowRank]"]
"""Gives g, float64, a factor for each row or column, and the pair."""


class Rescaled(Dense):
    """Rows (or columns) of the base's weight, each times a factor, and a low-rank pair: g∘W + scale·up·down.

    Args:
        parts: Gives g, float64, and the pair.
        weight: The base's, of `shape`.
        shape: Of the weight.
        rank: Of the pair.
        scale: Of all together.
        on_input: There is a factor for each column, not for each row.
        like: What else is said of it is said of this.
    """

    def __init__(
        self,
        parts: Parts,
        weight: Numbers,
        shape: tuple[int, ...],
        rank: int,
        scale: float = 1.0,
        *,
        on_input: bool = False,
        like: LowRank | None = None,
    ) -> None:
        super().__init__(
            self._whole,
            shape,
            scale,
            kind="DoRA",
            trained_rank=like.trained_rank if like else rank,
            number_formats=like.number_formats if like else FLOAT32,
        )
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "pair_rank", rank)
        object.__setattr__(self, "on_input", on_input)

    parts: Parts
    weight: Numbers
    on_input: bool
    pair_rank: int

    @classmethod
    def unscaled(cls, pair: LowRank, weight: Numbers) -> Rescaled:
        """A pair that leaves the weight as it is."""
        import torch

        none = torch.zeros(pair.shape[0], dtype=torch.float64)
        return cls(lambda: (none, pair.loaded()), weight, pair.shape, pair.rank)

    @classmethod
    def weighted_sum(cls, pairs: Sequence[LowRank], weights: Sequence[float]) -> Rescaled | None:
        """The weighted sum of deltas of one module; None where they are not all pairs, or such with a factor for rows.

        Args:
            pairs: In memory; at least one is no plain pair.
            weights: One for each.
        """
        import torch

        rescaled = [pair for pair in pairs if isinstance(pair, Rescaled)]
        if any(pair.is_dense for pair in pairs if not isinstance(pair, Rescaled)):
            return None
        if any(pair.on_input for pair in rescaled):
            return None
        total = torch.zeros(pairs[0].shape[0], dtype=torch.float64)
        ups, downs = [], []
        for pair, weight in zip(pairs, weights, strict=True):
            part, factor = pair, weight
            if isinstance(pair, Rescaled):
                gain, part = pair.parts()
                factor = weight * pair.scale
                total += factor * gain
            ups.append(part.up)
            downs.append((part.down.double() * (factor * part.scale)).float())
        merged = LowRank(torch.cat(downs), torch.cat(ups, 1), 1.0)
        return cls(lambda: (total, merged), rescaled[0].weight, pairs[0].shape, merged.rank)

    @property
    def is_rescaled(self) -> bool:
        """Whether a DoRA with a norm for each output holds it."""
        return not self.on_input

    @property
    def size(self) -> int:
        """How many numbers it takes as a DoRA."""
        return self.pair_rank * (self.shape[0] + math.prod(self.shape[1:])) + self.shape[0]

    def as_dora(self) -> tuple[Tensor, LowRank]:
        """(m, pair) of a DoRA that adds the same: m out, float32; the pair's scale is 1.

        With 1 + g = h, W + ΔW = h·(W + P/h), so that m = h·‖W + P/h‖.

        Raises:
            ZeroDivisionError: A row of the weight vanishes, which no DoRA does.
        """
        gain, pair = self.parts()
        kept = 1 + self.scale * gain
        if not bool(kept.all()):
            raise ZeroDivisionError
        factor = (self.scale * pair.scale / kept).reshape(-1, *(1 for _ in pair.up.shape[1:]))
        found = LowRank(pair.down, (pair.up * factor).float(), 1.0)
        total = self.weight.load().double().flatten(1)
        total.addmm_(found.up.flatten(1).double(), found.down.flatten(1).double())
        return (kept * total.norm(dim=1)).float(), found

    def rows_of_delta(self, start: int, stop: int, out: Tensor) -> None:
        """Some rows of the delta; the same rows of the weight are read."""
        gain, pair = self.parts()
        pair.rows_of_delta(start, stop, out)
        base = self.weight.rows([(start, stop)]).load()
        if self.on_input:
            factor = gain.reshape(1, -1, *(1 for _ in self.shape[2:]))
        else:
            factor = gain[start:stop].reshape(-1, *(1 for _ in self.shape[1:]))
        out.add_((base.to(out.dtype) * factor.to(out.dtype)).reshape(out.shape)).mul_(self.scale)

    def times(self, factor: float) -> LowRank:
        """The delta times a factor."""
        return self._with(self.parts, self.scale * factor)

    def kept(self, keep: Callable[[Tensor], Callable[[], Tensor]]) -> Dense:
        """The same with its numbers elsewhere; those of the base stay where they are."""
        gain, pair = self.parts()
        read = [keep(tensor) for tensor in (gain, pair.down, pair.up)]

        def parts() -> tuple[Tensor, LowRank]:
            found, down, up = (each() for each in read)
            return found.double(), LowRank(down, up, pair.scale)

        return self._with(parts, self.scale)

    def loaded(self) -> LowRank:
        """The same with its own numbers in memory."""
        found = self.parts()
        return self._with(lambda: found, self.scale)

    def _whole(self) -> Tensor:
        import torch

        found = torch.empty(self.shape[0], math.prod(self.shape[1:]))
        self._with(self.parts, 1.0).loaded().rows_of_delta(0, len(found), found)
        return found.reshape(self.shape)

    def _with(self, parts: Parts, scale: float) -> Rescaled:
        return Rescaled(parts, self.weight, self.shape, self.pair_rank, scale, on_input=self.on_input, like=self)
