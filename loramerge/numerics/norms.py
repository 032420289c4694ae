"""Norms of sums of low-rank deltas from their factors, without a dense delta.

With U the stacked `up`s and D the stacked `down`s of all terms, each times its factor, ‖U·D‖² is the sum of UᵀU ∘ DDᵀ:
two small Gram matrices. In float32 they tell a norm to about 1e-6 of itself, unless its terms cancel; then they are
computed in float64, which tells 1e-8 of the terms from zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from loramerge.numerics.blocks import products_of
from loramerge.numerics.gram import KeptGram

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from loramerge.adapter import LowRank

_FEW = 8  # rows of a factor that are compared in float64 at once
_CANCELLED = 0.05  # of the sum of all terms' squares: where less than this is left, float32 is not enough
_SAME = 1e-7  # of a norm: a tenth of what float32 tells of it
_TINY = 1e-24  # a term's square; float32 loses the squares of numbers below 1e-19
_ALL = slice(None)

_Gram = Callable[["torch.dtype"], "Tensor"]
"""A Gram matrix, computed in a number format, given in float64."""


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
    spans = _spans(pairs)
    column = _column(pairs, [merged.scale, *(-factor for factor in factors)])
    places = [*spans, slice(spans[0].stop, None), _ALL]
    products = _products(gram_of_ups(pairs), _gram_of_downs(pairs), column, places)
    first, *middle, target, difference = (root_of(_of_all(products, span, span)) for span in places)
    held = tuple(-_of_all(products, spans[0], span) for span in spans[1:])
    return Norms(tuple(middle), first, target, difference, _between(products, spans[1:]), held)


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
    return all(np.array_equal(up[:, span], pair.up.numpy()) for span, pair in zip(_spans(inputs), inputs, strict=True))


def _of_stacked(merged: LowRank, inputs: Sequence[LowRank], factors: Sequence[float], ups: KeptGram) -> Norms:
    """Here the difference is up·(difference of the downs)."""
    spans = _spans(inputs)
    products = _products(ups, _gram_of_downs(inputs), _column(inputs, factors), [*spans, _ALL])
    *middle, target = (root_of(_of_all(products, span, span)) for span in (*spans, _ALL))
    difference = _norm_of_lost(ups, _lost(merged, inputs, factors))
    # A norm is as near to the other as the difference is small, and float32 tells it no better.
    same = difference <= _SAME * target
    first = target if same else _norm_of_all(ups, _gram_of_downs([merged]), _column([merged], [merged.scale]))
    whole = products if same else _with_merged(merged, inputs, factors, ups)
    held = tuple(_of_all(whole, _ALL, span) for span in spans)
    return Norms(tuple(middle), first, target, difference, _between(products, spans), held)


def _with_merged(merged: LowRank, inputs: Sequence[LowRank], factors: Sequence[float], ups: _Gram) -> Tensor:
    """The inner products of the merged terms with those of the inputs, which have the same ups."""
    import torch

    downs = torch.cat([pair.down.flatten(1) for pair in inputs])
    return ups(torch.float32) * (merged.down.flatten(1) @ downs.T).double() * merged.scale * _column(inputs, factors)


def _lost(merged: LowRank, inputs: Sequence[LowRank], factors: Sequence[float]) -> Tensor:
    """The merged down less the stacked ones, times their factors; a few rows at a time, for float64 takes room."""
    import torch

    found = torch.empty_like(merged.down.flatten(1))
    for span, pair, factor in zip(_spans(inputs), inputs, factors, strict=True):
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


def _products(ups: _Gram, downs: _Gram, column: Tensor, spans: Sequence[slice]) -> Tensor:
    """The inner products of all terms with each other, each times its number in the column.

    Args:
        ups: Of the terms.
        downs: Of the terms.
        column: A number for each.
        spans: The sums whose norms are wanted.
    """
    import torch

    counted = torch.outer(column, column)
    quick = ups(torch.float32), downs(torch.float32)
    products = quick[0] * quick[1] * counted
    if any(float(gram.diagonal().min()) <= _TINY for gram in quick) or _cancels(products, spans):
        products = ups(torch.float64) * downs(torch.float64) * counted
    return products


def _norm_of_lost(ups: _Gram, rows: Tensor) -> float:
    """The norm of up·rows. Rows of zeros, which a weight such as 0.5 leaves, have no part in it."""
    import torch

    there = torch.from_numpy(rows.numpy().any(1)).nonzero().flatten()  # torch's own `any` takes five times as long
    if not len(there):
        return 0.0
    column = torch.ones(len(there), dtype=torch.float64)
    return _norm_of_all(
        lambda dtype: ups(dtype)[there][:, there], KeptGram(lambda dtype: rows[there].to(dtype).T), column
    )


def _norm_of_all(ups: _Gram, downs: _Gram, column: Tensor) -> float:
    """The norm of the sum of all terms."""
    return root_of(_of_all(_products(ups, downs, column, [_ALL]), _ALL, _ALL))


def _of_all(products: Tensor, one: slice, other: slice) -> float:
    return float(products[one, other].sum())


def _between(products: Tensor, spans: Sequence[slice]) -> dict[tuple[int, int], float]:
    return {(one, two): _of_all(products, spans[one], spans[two]) for one, two in combinations(range(len(spans)), 2)}


def _cancels(products: Tensor, spans: Sequence[slice]) -> bool:
    terms = products.diagonal()
    return not all(products[span, span].sum() > _CANCELLED * terms[span].sum() for span in spans)


def _spans(pairs: Sequence[LowRank]) -> list[slice]:
    """Where the terms of each pair lie among those of all."""
    spans, start = [], 0
    for pair in pairs:
        spans.append(slice(start, start + pair.rank))
        start += pair.rank
    return spans


def _column(pairs: Sequence[LowRank], factors: Sequence[float]) -> Tensor:
    """The factor of each term: there are as many as all ranks together."""
    import torch

    return torch.cat(
        [torch.full((pair.rank,), factor, dtype=torch.float64) for pair, factor in zip(pairs, factors, strict=True)]
    )
