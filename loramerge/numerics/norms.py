"""Norms of sums of low-rank deltas from their factors, without a dense delta.

With U the stacked `up`s and D the stacked `down`s of all terms, each times its factor, ‖U·D‖² is the sum of UᵀU ∘ DDᵀ:
two small Gram matrices, of which `inner_products` makes a few numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import TYPE_CHECKING

from loramerge.numerics.blocks import products_of
from loramerge.numerics.gram import KeptGram
from loramerge.numerics.inner_products import between, members, square_of, table_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from loramerge.adapter import LowRank
    from loramerge.numerics.inner_products import Gram, Table

_FEW = 8  # rows of a factor that are compared in float64 at once
_SAME = 1e-7  # of a norm: a tenth of what float32 tells of it


def inner_product(ups: Tensor, downs: Tensor) -> float:
    """The inner product of two deltas, from what their factors have in common; of one with itself: its squared norm.

    Args:
        ups: upᵀ·up of the one and the other, r×s.
        downs: down·downᵀ of the one and the other, r×s.
    """
    import torch

    return float((ups * downs).sum(dtype=torch.float64))


def root_of(square: float) -> float:
    """The norm, from its square, which rounding may have made negative."""
    return math.sqrt(max(square, 0.0))


def norm_of(pair: LowRank) -> float:
    """Frobenius norm of a pair's delta, in float64; squares of a scale may be more or less than float64 holds."""
    if pair.is_dense:
        return root_of(float(products_of([pair.loaded()], [1.0])[0, 0]))
    up, down = pair.up.flatten(1).double(), pair.down.flatten(1).double()
    return abs(pair.scale) * root_of(inner_product(up.T @ up, down @ down.T))


def gram_of_ups(pairs: Sequence[LowRank]) -> KeptGram:
    """The Gram matrix of the ups of some pairs, one beside the other; computed when it is asked for."""
    import torch

    def columns(dtype: torch.dtype) -> Tensor:
        ups = [pair.up.flatten(1).to(dtype) for pair in pairs]
        return ups[0] if len(ups) == 1 else torch.cat(ups, 1)

    return KeptGram(columns)


@dataclass(frozen=True)
class Norms:
    """Frobenius norms of a merged module and of what it stands for.

    Attributes:
        inputs: Of each input, times its factor.
        merged: Of the merged delta.
        target: Of the sum of the inputs.
        difference: Of merged minus target.
        products: Inner products of two inputs, times their factors, by the places of both.
        held: Inner product of the merged delta with each input, times its factor.
    """

    inputs: tuple[float, ...]
    merged: float
    target: float
    difference: float
    products: Mapping[tuple[int, int], float]
    held: tuple[float, ...]


def norms(
    merged: LowRank, inputs: Sequence[LowRank], factors: Sequence[float], *, ups: KeptGram | None = None
) -> Norms:
    """Compare a merged delta with the sum that it stands for.

    Args:
        merged: The result, in memory.
        inputs: The terms of the sum, in memory.
        factors: By what each input's up @ down counts in the sum.
        ups: The Gram matrix of the merged up, for whoever has it.
    """
    if any(pair.is_dense for pair in (merged, *inputs)):
        return _of_rows(merged, inputs, factors)
    if _are_stacked(merged, inputs):
        return _of_stacked(merged, inputs, factors, ups or gram_of_ups([merged]))
    pairs = [merged, *inputs]
    every = len(pairs)
    sums = [*((place, place + 1) for place in range(every)), (1, every), (0, every)]
    column = _column(pairs, [merged.scale, *(-factor for factor in factors)])
    table = table_of(gram_of_ups(pairs), _gram_of_downs(pairs), column, _ranks(pairs), sums)
    first, *middle, target, difference = (root_of(square_of(table, span)) for span in sums)
    return Norms(tuple(middle), first, target, difference, between(table[1:, 1:]), tuple((-table[0, 1:]).tolist()))


def _of_rows(merged: LowRank, inputs: Sequence[LowRank], factors: Sequence[float]) -> Norms:
    """Where a delta has no factors worth having: from the deltas themselves."""
    weights = [factor / pair.scale for pair, factor in zip(inputs, factors, strict=True)]
    every = range(1, len(inputs) + 1)
    # The merged delta with the other sign, so that the last sum is the difference.
    products = products_of([merged, *inputs], [-1.0, *weights], [every, (0, *every)])
    first, *middle, target, difference = map(root_of, products.diagonal().tolist())
    between = {(one, two): float(products[one + 1, two + 1]) for one, two in combinations(range(len(inputs)), 2)}
    held = tuple(-float(products[0, place]) for place in every)
    return Norms(tuple(middle), first, target, difference, between, held)


def _are_stacked(merged: LowRank, inputs: Sequence[LowRank]) -> bool:
    """Whether the ups of the merged pair are those of the inputs, one beside the other, as `cat` has it."""
    import numpy as np

    if merged.rank != sum(pair.rank for pair in inputs):
        return False
    up = merged.up.numpy()
    # torch.equal takes three times as long for columns of a matrix.
    return all(
        np.array_equal(up[:, span], pair.up.numpy()) for span, pair in zip(_spans(_ranks(inputs)), inputs, strict=True)
    )


def _of_stacked(merged: LowRank, inputs: Sequence[LowRank], factors: Sequence[float], ups: KeptGram) -> Norms:
    """Here the difference is up·(difference of the downs)."""
    ranks, every = _ranks(inputs), (0, len(inputs))
    sums = [*((place, place + 1) for place in range(len(inputs))), every]
    lost = _table_of_lost(ups, _lost(merged, inputs, factors), ranks)
    found = table_of(ups, _gram_of_downs([merged]), _column([merged], [merged.scale]), ranks, sums)
    difference, first = root_of(square_of(lost, every)), root_of(square_of(found, every))
    # A norm is as near to the other as the difference is small, and float32 tells it no better.
    if all(root_of(square_of(lost, one)) <= _SAME * root_of(square_of(found, one)) for one in sums):
        return _stacked_norms(found, found, first, difference)
    column = _column(inputs, factors)
    held = _with_merged(merged, inputs, column, ups, ranks)
    return _stacked_norms(table_of(ups, _gram_of_downs(inputs), column, ranks, sums), held, first, difference)


def _stacked_norms(found: Table, held: Table, merged: float, difference: float) -> Norms:
    """From the table of the inputs, and that of the merged parts with them."""
    *middle, target = map(root_of, (*found.diagonal().tolist(), float(found.sum())))
    return Norms(tuple(middle), merged, target, difference, between(found), tuple(held.sum(0).tolist()))


def _with_merged(merged: LowRank, inputs: Sequence[LowRank], column: Tensor, ups: Gram, ranks: Sequence[int]) -> Table:
    """The inner products of the merged parts with the inputs, which have the same ups."""
    import torch

    downs = torch.cat([pair.down.flatten(1) for pair in inputs])
    products = ups(torch.float32) * (merged.down.flatten(1) @ downs.T).double()
    member = members(ranks)
    found: Table = member @ (products * merged.scale * column).numpy() @ member.T
    return found


def _lost(merged: LowRank, inputs: Sequence[LowRank], factors: Sequence[float]) -> Tensor:
    """The merged down less the stacked ones, times their factors; a few rows at a time, for float64 takes room."""
    import torch

    found = torch.empty_like(merged.down.flatten(1))
    for span, pair, factor in zip(_spans(_ranks(inputs)), inputs, factors, strict=True):
        for first in range(span.start, span.stop, _FEW):
            rows = slice(first, min(first + _FEW, span.stop))
            given = pair.down[first - span.start : rows.stop - span.start].flatten(1)
            found[rows] = merged.down[rows].flatten(1).double().mul_(merged.scale).sub_(given.double().mul_(factor))
    return found


def _gram_of_downs(pairs: Sequence[LowRank]) -> KeptGram:
    import torch

    def columns(dtype: torch.dtype) -> Tensor:
        downs = [pair.down.flatten(1).to(dtype) for pair in pairs]
        return (downs[0] if len(downs) == 1 else torch.cat(downs)).T

    return KeptGram(columns)


def _table_of_lost(ups: Gram, rows: Tensor, ranks: Sequence[int]) -> Table:
    """The inner products of the parts of up·rows. Rows of zeros, which a weight such as 0.5 leaves, have none."""
    import numpy as np
    import torch

    there: NDArray[np.bool_] = np.asarray(rows.numpy().any(1))  # torch's own `any` takes five times as long
    if not there.any():
        return np.zeros((len(ranks), len(ranks)))
    counts = [int(there[span].sum()) for span in _spans(ranks)]
    places = torch.from_numpy(there).nonzero().flatten()
    some = rows if there.all() else rows[places]
    return table_of(
        lambda dtype: ups(dtype)[places][:, places],
        KeptGram(lambda dtype: some.to(dtype).T),
        torch.ones(len(places), dtype=torch.float64),
        counts,
        [(0, len(ranks))],
    )


def _ranks(pairs: Sequence[LowRank]) -> list[int]:
    return [pair.rank for pair in pairs]


def _spans(ranks: Sequence[int]) -> list[slice]:
    """Where the terms of each pair lie among those of all."""
    return [slice(stop - rank, stop) for rank, stop in zip(ranks, accumulate(ranks), strict=True)]


def _column(pairs: Sequence[LowRank], factors: Sequence[float]) -> Tensor:
    """The factor of each term: there are as many as all ranks together."""
    import torch

    return torch.cat(
        [torch.full((pair.rank,), factor, dtype=torch.float64) for pair, factor in zip(pairs, factors, strict=True)]
    )
