"""Which values of a tensor are large and which are small, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 256


def keep_largest(tensor: Tensor, density: float) -> Tensor:
    """A copy in which all but the largest magnitudes are zero: peft.utils.merge_utils.magnitude_based_pruning.

    Which of several equal magnitudes are kept is what `torch.topk` decides.

    Args:
        tensor: Of any shape; finite.
        density: Share of the values to keep; `int(density · numel)` are kept, all of them from 1 on.
    """
    if density >= 1:
        return tensor
    return largest(tensor, int(density * tensor.numel()))


def largest(tensor: Tensor, count: int) -> Tensor:
    """A copy in which all but so many of the largest magnitudes are zero.

    Which of several equal magnitudes are kept is what `torch.topk` decides.

    Args:
        tensor: Of any shape; finite.
        count: At most as many as there are.
    """
    import torch

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


def without_tails(tensor: Tensor, density: float, top: float) -> Tensor:
    """A copy in which the largest magnitudes and the smallest ones are zero (Davari and Belilovsky, arXiv:2312.06795).

    Args:
        tensor: Of any shape; finite.
        density: Share of the values to keep, those that follow the largest.
        top: Share of the values that are too large.
    """
    import torch

    size = tensor.numel()
    large = int(top * size)
    kept = largest(tensor, min(large + int(density * size), size))
    return torch.where(largest(tensor, large) != 0, 0.0, kept)


def rank_in_row(matrix: Tensor) -> Tensor:
    """For each value how many of its row have a lesser magnitude, as a share: 0 for the least, 1 for the largest.

    Args:
        matrix: m×n. Of equal magnitudes the first counts as the lesser; a single one has 0.5.

    Returns:
        m×n, float32.
    """
    import torch

    width = matrix.shape[1]
    if width == 1:
        return torch.full_like(matrix, 0.5, dtype=torch.float32)
    found = torch.empty_like(matrix, dtype=torch.float32)
    shares = torch.arange(width, dtype=torch.float32, device=matrix.device) / (width - 1)
    for rows, out in zip(torch.split(matrix, _ROWS), torch.split(found, _ROWS), strict=True):
        out.scatter_(1, rows.abs().argsort(dim=1, stable=True), shares.expand(rows.shape))
    return found


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
