"""The largest values of a tensor, exactly, without sorting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_SAMPLED_FROM = 1 << 16
_SAMPLE = 1 << 14
_DEVIATIONS = 4.0
_CPU_FORMATS = ("torch.float32", "torch.float64")


def keep_largest(tensor: Tensor, density: float) -> Tensor:
    """A copy in which all but the largest magnitudes are zero: peft.utils.merge_utils.magnitude_based_pruning.

    Which of several equal magnitudes are kept is what `torch.topk` decides.

    Args:
        tensor: Of any shape.
        density: Share of the values to keep; `int(density · numel)` are kept, all of them from 1 on.
    """
    import torch

    if density >= 1:
        return tensor
    count = int(density * tensor.numel())
    magnitudes = tensor.abs().reshape(-1)
    if not count:
        return torch.zeros_like(tensor)
    keep = None
    if tensor.device.type == "cpu" and str(tensor.dtype) in _CPU_FORMATS:
        keep = _above(magnitudes, count)
    if keep is None:
        keep = torch.zeros(magnitudes.shape, dtype=torch.bool, device=tensor.device)
        # Unsorted, topk partitions by the same steps and leaves out the sorting, most of its time.
        keep[torch.topk(magnitudes, count, sorted=False).indices] = True
    return torch.where(keep.view(tensor.shape), tensor, 0)


def _above(magnitudes: Tensor, count: int) -> Tensor | None:
    """Which values are at least the `count`-th largest; None where equal ones straddle that place."""
    import numpy as np
    import torch

    values = magnitudes.numpy()
    threshold = _threshold(values, count)
    keep = values >= threshold
    # Zeros may be kept or not: they stay zeros.
    exact = threshold == 0 or np.count_nonzero(keep) == count
    return torch.from_numpy(keep) if exact else None


def _threshold(values: NDArray[np.floating[Any]], count: int) -> float:
    """The `count`-th largest value: a sample brackets it, then only what lies in the bracket is partitioned.

    After Floyd and Rivest, Algorithm 489 (1975). The result does not depend on the sample; a bracket that misses it
    costs time alone.
    """
    import numpy as np

    total = len(values)
    if total >= _SAMPLED_FROM:
        sample = np.sort(values[:: total // _SAMPLE])
        share = count / total
        middle = (1 - share) * len(sample)
        reach = _DEVIATIONS * (len(sample) * share * (1 - share)) ** 0.5 + 2
        low = sample[max(0, int(middle - reach))]
        high = sample[min(len(sample) - 1, int(middle + reach))]
        above = values > high
        candidates = values[(values >= low) & ~above]
        wanted = count - np.count_nonzero(above)
        if 0 < wanted <= len(candidates):
            place = len(candidates) - wanted
            return float(np.partition(candidates, place)[place])
    return float(np.partition(values, total - count)[total - count])
