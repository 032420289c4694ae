"""Whether all numbers of a tensor are numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def is_finite(tensor: Tensor) -> bool:
    """No NaN, no infinity: in one pass, without a mask as large as the tensor."""
    import torch

    # The least and the greatest are NaN if any number is, and infinite if any is.
    return not tensor.numel() or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())
