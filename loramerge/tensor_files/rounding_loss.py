"""What a merge loses where its sums are rounded to numbers of 8 bits, whose steps may be larger than what is added."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SMALL = ("F8_E4M3", "F8_E5M2")
"""Number formats, as a safetensors header spells them, in which a loss is worth a word."""


class RoundingLoss:
    """How much of what is added is lost when sums are rounded; any thread may add to it.

    The numbers are summed exactly, so that the order of blocks makes no difference.
    """

    def __init__(self) -> None:
        self._lost: list[float] = []
        self._added: list[float] = []

    def count(self, delta: Tensor, summed: Tensor, written: Tensor) -> None:
        """Take the elements of a block into account.

        Args:
            delta: What was added.
            summed: The sums before they were rounded.
            written: The same after it.
        """
        self._lost.append(float((written.to(summed.dtype) - summed).square().sum()))
        self._added.append(float(delta.square().sum()))

    @property
    def relative(self) -> float | None:
        """‖rounded - sum‖ / ‖added‖ over all elements to which something was added; None where nothing was rounded."""
        added = math.fsum(self._added)
        return math.sqrt(math.fsum(self._lost) / added) if added else None


def largest(dtype: torch.dtype) -> float:
    """The largest sum that rounds to a finite number of 8 bits: torch clamps what is larger, and does not say so.

    Args:
        dtype: torch's float8_e4m3fn or float8_e5m2.
    """
    import torch

    info = torch.finfo(dtype)
    step = 2.0 ** math.floor(math.log2(info.max)) * info.eps
    return info.max + step / 2
