"""The least that a merge can't do without, by library calls: what ours would take if everything else took no time.

- `cat`: every factor is copied.
- `linear` and the types that prune factors: the factors are added up; where a type prunes by magnitude, each is
  partitioned (NumPy's), where it drops at random, a byte is drawn for every value (NumPy's Philox).
- `svd`: the Gram matrices of the stacked factors, in float64.
- `*_svd`: the same on the dense deltas, which are computed first, and the Gram matrix of their sum, in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from measure import Figures, stopwatch
from models import DENSITY

from loramerge.numerics.gram import gram_of
from loramerge.numerics.threads import in_order, one_thread, workers

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge import LowRank

_VALUES_IN_A_WORD = 8


def merge(loras: Sequence[Mapping[str, LowRank]], names: Sequence[str], combination_type: str, threads: int) -> Figures:
    """What the least takes for some layers, side by side on as many threads."""

    def least(name: str) -> None:
        _least([lora[name] for lora in loras], combination_type)

    with stopwatch() as figures, one_thread(), workers(threads) as pool:
        for _ in in_order(pool, least, names, ahead=4 * threads):
            pass
    return figures


def _least(pairs: Sequence[LowRank], combination_type: str) -> None:
    import torch

    downs, ups = [pair.down.flatten(1) for pair in pairs], [pair.up.flatten(1) for pair in pairs]
    if combination_type == "cat":
        torch.cat(downs)
        torch.cat(ups, 1)
    elif combination_type == "svd":
        gram_of(torch.cat(ups, 1), torch.float64)
        gram_of(torch.cat(downs).T, torch.float64)
    elif combination_type.endswith("_svd"):
        total = _sum([up @ down for up, down in zip(ups, downs, strict=True)], combination_type)
        gram_of(total if len(total) >= total.shape[1] else total.T, torch.float32)
    else:
        _sum(downs, combination_type)
        _sum(ups, combination_type)


def _sum(tensors: Sequence[Tensor], combination_type: str) -> Tensor:
    import numpy as np

    for tensor in tensors:
        if combination_type.startswith(("ties", "magnitude_prune")):
            bits = tensor.abs().numpy().reshape(-1).view(np.int32)
            bits.partition(int(DENSITY["density"] * len(bits)))
        elif combination_type.startswith("dare"):
            words = np.random.Generator(np.random.Philox(0)).integers
            words((1 << 64) - 1, size=tensor.numel() // _VALUES_IN_A_WORD, dtype=np.uint64, endpoint=True)
    total = tensors[0] + tensors[1]
    for tensor in tensors[2:]:
        total.add_(tensor)
    return total
