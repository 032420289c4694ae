"""Whether all numbers of a tensor are numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
LARGEST = (2 - 2**-23) * 2.0**127
"""The largest number of float32."""


def is_finite(tensor: Tensor) -> bool:
    """No NaN, no infinity: in one pass, without a mask as large as the tensor."""
    import torch

    # A sum is finite only if all of its terms are; where it is not, it may still be no more than too large a sum.
    if math.isfinite(tensor.sum()) or not tensor.numel():  # torch's `isfinite` is five operations
        return True
    # The least and the greatest are NaN if any number is, and infinite if any is.
    return bool(torch.stack(torch.aminmax(tensor)).isfinite().all())
