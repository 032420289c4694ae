"""How several tensors become one: PEFT's functions (peft/utils/merge_utils.py), to the bit, in less memory and time.

PEFT stacks the tensors and makes a new one at each step. Here they go through block by block, so that a block stays in
the processor's cache from the first step to the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 1 << 14
_IN_ORDER = 3


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ wᵢTᵢ: `task_arithmetic`.

    Args:
        tensors: Of one shape, number format and device.
        weights: One for each.
    """
    import torch

    result = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    for out, *blocks in _blocks([result, *tensors]):
        # Not add(…, alpha=weight): that rounds once where PEFT rounds twice, and equal terms would not cancel.
        _sum([block * weight for block, weight in zip(blocks, weights, strict=True)], out)
    return result


def elected_mean(
    tensors: Sequence[Tensor], weights: Sequence[float], majority: Literal["total", "frequency"]
) -> Tensor:
    """Elect a sign for each value and average what agrees (Yadav et al., TIES): `ties` after its pruning.

    Args:
        tensors: Of one shape, number format and device.
        weights: One for each; they play no part in the election.
        majority: Elect by the sum of the values, or by their number.
    """
    import torch

    result = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    for out, *blocks in _blocks([result, *tensors]):
        votes = blocks if majority == "total" else [block.sign() for block in blocks]
        # Zero added to a negative zero makes it positive: PEFT elects a plus where nobody votes.
        elected = torch.copysign(torch.ones_like(out), _sum(votes, torch.empty_like(out)).add_(0.0))
        agreed = [(block * elected).relu_() for block in blocks]
        count = torch.zeros_like(out)
        for block in agreed:
            count.add_(block.sign())
        _sum([block.mul_(weight) for block, weight in zip(agreed, weights, strict=True)], out)
        out.mul_(elected).div_(count.clamp_(min=1))
    return result


def rescaled(tensor: Tensor, keep: Tensor, density: float) -> Tensor:
    """What is kept, divided by the share that is kept (Yu et al., DARE): `random_pruning` after its draw."""
    import torch

    return (tensor * keep.view(torch.uint8)).div_(density)


def _blocks(tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    size = _BLOCK if tensors[0].device.type == "cpu" else max(tensors[0].numel(), 1)
    import torch

    return zip(*(torch.split(tensor.reshape(-1), size) for tensor in tensors), strict=True)


def _sum(terms: Sequence[Tensor], out: Tensor) -> Tensor:
    """The terms added up in the order in which torch reduces a stack of them; more than three it adds in parallel."""
    import torch

    if len(terms) > _IN_ORDER:
        return torch.sum(torch.stack(list(terms)), 0, out=out)
    out.copy_(terms[0])
    for term in terms[1:]:
        out.add_(term)
    return out
