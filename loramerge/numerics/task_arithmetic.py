"""How several tensors become one: PEFT's functions (peft/utils/merge_utils.py), to the bit, in less memory and time.

PEFT stacks the tensors and makes a new one at each step. Here they go through block by block, so that a block stays in
the processor's cache from the first step to the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 1 << 16
_IN_ORDER = 3


@dataclass(frozen=True)
class Thinning:
    """What DARE keeps of each tensor (Yu et al., arXiv:2311.03099): `random_pruning` after its draw.

    Attributes:
        masks: Truth values, one tensor of them for each tensor.
        density: The share that is kept, by which what is kept is divided.
    """

    masks: Sequence[Tensor]
    density: float


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float], thinning: Thinning | None = None) -> Tensor:
    """Σ wᵢTᵢ: `task_arithmetic`, `dare_linear`.

    Args:
        tensors: Of one shape, number format and device.
        weights: One for each.
        thinning: Applied first.
    """
    import torch

    result = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    for out, blocks in _blocks(result, tensors, thinning):
        # Not add(…, alpha=weight): that rounds once where PEFT rounds twice, and equal terms would not cancel.
        _weighted(blocks, weights, out)
    return result


def elected_mean(
    tensors: Sequence[Tensor],
    weights: Sequence[float],
    majority: Literal["total", "frequency"],
    thinning: Thinning | None = None,
) -> Tensor:
    """Elect a sign for each value and average what agrees (Yadav et al., TIES): `ties` after its pruning, `dare_ties`.

    Args:
        tensors: Of one shape, number format and device.
        weights: One for each; they play no part in the election.
        majority: Elect by the sum of the values, or by their number.
        thinning: Applied first.
    """
    import torch

    result = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    for out, blocks in _blocks(result, tensors, thinning):
        votes = blocks if majority == "total" else [block.sign() for block in blocks]
        # Zero added to a negative zero makes it positive: PEFT elects a plus where nobody votes.
        elected = torch.copysign(torch.ones_like(out), _sum(votes).add_(0.0))
        agreed = [(block * elected).relu_() for block in blocks]
        count = _sum([block.sign() for block in agreed]).clamp_(min=1)
        _weighted(agreed, weights, out)
        out.mul_(elected).div_(count)
    return result


def _blocks(
    result: Tensor, tensors: Sequence[Tensor], thinning: Thinning | None
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """The same stretch of the result and of each thinned tensor, one stretch after the other."""
    import torch

    size = _BLOCK if result.device.type == "cpu" else max(result.numel(), 1)
    flat = [tensor.reshape(-1) for tensor in tensors]
    masks = [mask.reshape(-1).view(torch.uint8) for mask in thinning.masks] if thinning else []
    for start in range(0, result.numel(), size):
        stretch = slice(start, start + size)
        blocks = [tensor[stretch] for tensor in flat]
        if thinning:
            kept = zip(blocks, masks, strict=True)
            blocks = [(block * mask[stretch]).div_(thinning.density) for block, mask in kept]
        yield result.view(-1)[stretch], blocks


def _weighted(blocks: Sequence[Tensor], weights: Sequence[float], out: Tensor) -> None:
    import torch

    if len(blocks) > _IN_ORDER:
        torch.sum(torch.stack([block * weight for block, weight in zip(blocks, weights, strict=True)]), 0, out=out)
        return
    torch.mul(blocks[0], weights[0], out=out)
    for block, weight in zip(blocks[1:], weights[1:], strict=True):
        out.add_(block * weight)


def _sum(terms: Sequence[Tensor]) -> Tensor:
    """A new tensor: the terms as torch adds a stack of them up, one by one or, if there are many, in parallel."""
    import torch

    if len(terms) > _IN_ORDER:
        return torch.stack(list(terms)).sum(0)
    total = terms[0] + terms[1] if len(terms) > 1 else terms[0].clone()
    for term in terms[2:]:
        total.add_(term)
    return total
