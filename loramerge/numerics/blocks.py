"""Dense deltas a few rows at a time, in float64: what is said of them takes no room for all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank

_MOST = 1 << 21
"""Numbers of a delta in a block: 16 MB in float64."""


def row_blocks(pairs: Sequence[LowRank]) -> Iterator[tuple[slice, list[Tensor]]]:
    """The rows of a block, and those of each delta, rows×(in·kh·kw), float64; the same memory is used for each block.

    Args:
        pairs: Of one shape, in memory.
    """
    import torch

    height, width = pairs[0].shape[0], math.prod(pairs[0].shape[1:])
    step = max(_MOST // width, 1)
    memory = [torch.empty(min(step, height), width, dtype=torch.float64) for _ in pairs]
    for start in range(0, height, step):
        stop = min(start + step, height)
        blocks = [block[: stop - start] for block in memory]
        for pair, block in zip(pairs, blocks, strict=True):
            pair.rows_of_delta(start, stop, block)
        yield slice(start, stop), blocks


def products_of(pairs: Sequence[LowRank], weights: Sequence[float], sums: Sequence[Sequence[int]] = ()) -> Tensor:
    """Inner products of deltas, each times its weight, and of sums of them, in float64.

    Args:
        pairs: Of one shape, in memory.
        weights: One for each.
        sums: Further deltas, as the places of those that they are the sums of.

    Returns:
        A symmetric matrix with a row for each delta and then one for each sum.
    """
    import torch

    found = torch.zeros(len(pairs) + len(sums), len(pairs) + len(sums), dtype=torch.float64)
    for _, deltas in row_blocks(pairs):
        for delta, weight in zip(deltas, weights, strict=True):
            delta.mul_(weight)
        stack = torch.stack(deltas).flatten(1)
        every = torch.cat([stack, *(stack[list(each)].sum(0, keepdim=True) for each in sums)])
        found += every @ every.T
    return found
