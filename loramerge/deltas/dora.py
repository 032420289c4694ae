"""DoRA: a low-rank pair, and the norm that each row of the sum has afterwards (Liu et al., arXiv:2402.09353).

The tuned weight is m · (W + Δ) / ‖W + Δ‖, row by row, so that g∘W + (m/n)∘Δ is added, with n the norms of W + Δ and
g = m/n - 1. What it adds depends on the weight. PEFT (peft/tuners/lora/dora.py) and LyCORIS (functional/general.py,
`weight_decompose`) have a norm for each output. Older files of LyCORIS and OneTrainer's have one for each input: then
columns are what is scaled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from loramerge.adapter import LowRank
from loramerge.deltas.kind import ShapeError
from loramerge.deltas.rescaled import Rescaled

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.deltas.kind import Numbers, Spans

MAGNITUDE, SCALE = "magnitude", "dora_scale"
"""The roles of magnitudes: PEFT's are those of outputs, LyCORIS' tell by their shape."""


def with_magnitude(pair: LowRank, role: str, magnitude: Numbers, spans: Spans) -> Dora:
    """A delta of a file together with its magnitudes.

    Args:
        pair: The rows that are meant.
        role: Of the magnitudes.
        magnitude: One for each output or input of the whole layer, whatever axes of length one there are.
        spans: The rows that are meant; all of them where there are none.

    Raises:
        ShapeError: They are neither as many as the outputs nor as the inputs, or on the inputs of a part of a layer.
    """
    count, shape = math.prod(magnitude.shape), pair.shape
    height = max((stop for _, stop in spans), default=shape[0])
    on_input = role == SCALE and len(magnitude.shape) > 1 and magnitude.shape[0] == 1
    # LoHa and LoKr have a convolution's kernel in their columns.
    kernel_in_columns = len(shape) == 2 < len(magnitude.shape) and shape[1] % count == 0  # noqa: PLR2004  # a matrix
    if on_input and (count == shape[1] or kernel_in_columns):
        if spans:
            raise ShapeError(
                f"{{{role}}} has a number for each input of a layer that is several in the base, and their norms are "
                "those of all together"
            )
        return Dora(pair, magnitude.reshaped((count,)), on_input=True)
    if count < height or (not spans and count != height):
        raise ShapeError(
            f"{{{role}}} should have {height} numbers, one for each output, or {shape[1]} on the second axis"
        )
    flat = magnitude.reshaped((count,))
    return Dora(pair, flat.rows(spans) if spans else flat, on_input=False)


class Dora(LowRank):
    """A delta and its magnitudes, as a file has them. What is asked of it is told of the delta without them.

    Args:
        pair: The delta: a LoRA's as a rule, but LoHa and LoKr can have magnitudes as well.
        magnitude: One for each output, or for each input.
        on_input: Which of the two.
    """

    needs_weight: ClassVar[bool] = True
    kind: ClassVar[str] = "DoRA"

    def __init__(self, pair: LowRank, magnitude: Numbers, *, on_input: bool) -> None:
        object.__setattr__(self, "pair", pair)
        object.__setattr__(self, "magnitude", magnitude)
        object.__setattr__(self, "on_input", on_input)
        object.__setattr__(self, "scale", pair.scale)

    pair: LowRank
    magnitude: Numbers
    on_input: bool

    @property
    def down(self) -> Tensor:
        """Of the delta."""
        return self.pair.down

    @property
    def up(self) -> Tensor:
        """Of the delta."""
        return self.pair.up

    @property
    def rank(self) -> int:
        """Of the delta."""
        return self.pair.rank

    @property
    def trained_rank(self) -> int:
        """What alpha is divided by in the file."""
        return self.pair.trained_rank

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return self.pair.shape

    @property
    def number_formats(self) -> frozenset[str]:
        """Of the tensors in the file."""
        return self.pair.number_formats | self.magnitude.number_formats

    def shaped(self, shape: tuple[int, ...]) -> LowRank:
        """The same map for a weight of an equivalent shape."""
        return Dora(self.pair.shaped(shape), self.magnitude, on_input=self.on_input)

    def equals(self, other: LowRank) -> bool:
        """Whether both have the same delta and the same magnitudes, to the bit."""
        return (
            isinstance(other, Dora)
            and self.on_input is other.on_input
            and self.pair.equals(other.pair)
            and self.magnitude.load().equal(other.magnitude.load())
        )

    def loaded(self) -> LowRank:
        """The same: it is read when the base's weight is there."""
        return self

    def bound(self, weight: Numbers) -> LowRank:
        """What it adds to a weight.

        Args:
            weight: The base's, of `shape`; it is read when the delta is asked for.
        """
        return Rescaled(lambda: self._parts(weight), weight, self.shape, self.rank, on_input=self.on_input, like=self)

    def _parts(self, weight: Numbers) -> tuple[Tensor, LowRank]:
        """(g, the pair that is added besides), computed in float64."""
        import torch

        pair = self.pair.loaded()
        rows = torch.empty(self.shape[0], math.prod(self.shape[1:]), dtype=torch.float64)
        pair.rows_of_delta(0, len(rows), rows)
        total = rows.add_(weight.load().reshape(rows.shape)).reshape(self.shape)
        norms = total.transpose(0, 1).flatten(1).norm(dim=1) if self.on_input else total.flatten(1).norm(dim=1)
        magnitude = self.magnitude.load().double()
        # What is zero has no direction, and stays zero.
        ratio = torch.where(norms > 0, magnitude / norms.clamp(min=torch.finfo(norms.dtype).tiny), 0.0)
        up, down = pair.up, pair.down
        if self.on_input:
            down = (down * ratio.reshape(1, -1, *(1 for _ in self.shape[2:]))).float()
        else:
            up = (up * ratio.reshape(-1, *(1 for _ in up.shape[1:]))).float()
        return ratio - 1, LowRank(down, up, pair.scale)
