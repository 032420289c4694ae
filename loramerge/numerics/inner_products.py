"""Inner products of low-rank deltas with each other, from the Gram matrices of all of their factors.

In float32 they tell a norm to about 1e-6 of itself, unless its terms cancel; then they are computed in float64, which
tells 1e-8 of the terms from zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    Gram = Callable[[torch.dtype], Tensor]
    """A Gram matrix, computed in a number format, given in float64."""
    Table = NDArray[np.float64]
    """A row and a column for each delta."""

_CANCELLED = 0.05  # of the sum of all terms' squares: where less than this is left, float32 is not enough
_TINY = 1e-24  # a term's square; float32 loses the squares of numbers below 1e-19


def table_of(ups: Gram, downs: Gram, column: Tensor, ranks: Sequence[int], sums: Sequence[tuple[int, int]]) -> Table:
    """The inner products of some deltas with each other.

    Args:
        ups: Of the terms of all.
        downs: Of the terms of all.
        column: By what each term counts.
        ranks: How many terms each delta has.
        sums: Which of them are summed up in what is wanted: the first, and the one behind the last.
    """
    import torch

    member = members(ranks) * column.numpy()
    quick = ups(torch.float32), downs(torch.float32)
    if all(float(gram.diagonal().min()) > _TINY and gram.diagonal().isfinite().all() for gram in quick):
        products = (quick[0] * quick[1]).numpy()
        table: Table = member @ products @ member.T
        terms = member**2 @ products.diagonal()
        if all(square_of(table, span) > _CANCELLED * terms[slice(*span)].sum() for span in sums):
            return table
    exact: Table = member @ (ups(torch.float64) * downs(torch.float64)).numpy() @ member.T
    return exact


def members(ranks: Sequence[int]) -> Table:
    """Which terms are those of each delta: a row for each delta, with 1 for its terms; a column for each term."""
    import numpy as np

    return np.repeat(np.eye(len(ranks)), ranks, axis=1)


def square_of(table: Table, span: tuple[int, int]) -> float:
    """The squared norm of the sum of some deltas: from the first to the one before the last number."""
    start, stop = span
    return float(table[start:stop, start:stop].sum())


def between(table: Table) -> dict[tuple[int, int], float]:
    """The inner products of two deltas each, by the places of both."""
    return {(one, two): float(table[one, two]) for one, two in combinations(range(len(table)), 2)}
