"""The largest values of a tensor, exactly, without sorting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def keep_largest(tensor: Tensor, density: float) -> Tensor:
    """A copy in which all but the largest magnitudes are zero: peft.utils.merge_utils.magnitude_based_pruning.

    Which of several equal magnitudes are kept is what `torch.topk` decides.

    Args:
        tensor: Of any shape; finite.
        density: Share of the values to keep; `int(density · numel)` are kept, all of them from 1 on.
    """
    import torch

    if density >= 1:
        return tensor
    count = int(density * tensor.numel())
    if not count:
        return torch.zeros_like(tensor)
    if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
        scratch = tensor.abs()
        below = _just_below(scratch.reshape(-1), count)
        if below is not None:
            return torch.hardshrink(tensor, below, out=scratch)
    magnitudes = tensor.abs().reshape(-1)
    keep = torch.zeros(magnitudes.shape, dtype=torch.uint8, device=tensor.device)
    # Unsorted, topk partitions by the same steps and leaves out the sorting, most of its time.
    keep[torch.topk(magnitudes, count, sorted=False).indices] = 1
    return tensor * keep.view(tensor.shape)


def _just_below(magnitudes: Tensor, count: int) -> float | None:
    """The largest number that exactly `count` values exceed; None where equal ones straddle that place.

    Args:
        magnitudes: In one dimension, contiguous; their order is lost.
        count: At least 1.
    """
    import numpy as np

    # Numbers above zero are in the order of their bits, and integers are partitioned faster.
    bits = magnitudes.numpy().view(np.int32)
    place = len(bits) - count
    bits.partition(place)
    threshold = bits[place]
    if threshold == 0:  # zeros may be kept or not: they stay zeros
        return 0.0
    if place and bits[:place].max() == threshold:
        return None
    return float((threshold - 1).view(np.float32))
