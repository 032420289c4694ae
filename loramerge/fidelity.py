"""How far a merge is from the weighted sum of its LoRAs, from the factors alone.

‖merged - Σ wᵢΔᵢ‖ / ‖Σ wᵢΔᵢ‖ in the Frobenius norm. With U the stacked `up`s and D the stacked `down`s of all pairs,
‖U·D‖² = tr(UᵀU · DDᵀ): two small Gram matrices in float64 instead of a dense delta. Their rounding limits what can be
told from zero to about 1e-8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.merging import Share
from loramerge.threads import one_thread, workers

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Adapter, LowRank
    from loramerge.weighing import Weighing

_STRIP = 32  # rows of a Gram matrix that are computed at once


@dataclass(frozen=True)
class ModuleFidelity:
    """One module of a merge.

    Attributes:
        ranks: Rank of each LoRA that touches it, by name.
        norms: Norm of each LoRA's weighted delta, by name.
        rank: Of the merged pair.
        norm: Of the merged delta.
        target: Norm of the weighted sum.
        difference: Norm of merged minus weighted sum.
    """

    ranks: Mapping[str, int]
    norms: Mapping[str, float]
    rank: int
    norm: float
    target: float
    difference: float

    @property
    def error(self) -> float | None:
        """Relative error; None where the weighted sum is zero."""
        return self.difference / self.target if self.target > 0 else None


Fidelity = Mapping[str, Mapping[str, ModuleFidelity]]
"""By component and module."""


def measure(merged: Adapter, loras: Mapping[str, tuple[Adapter, Weighing]]) -> dict[str, dict[str, ModuleFidelity]]:
    """Measure every module of an adapter against the weighted sum of others.

    Args:
        merged: What is measured.
        loras: Name → adapter and its weights.

    Returns:
        By component and module, for every module of `merged`.
    """
    places = [(component, module) for component, module, _ in merged]
    with one_thread(), workers() as pool:
        entries = pool.map(lambda place: _entry(place[0], place[1], merged, loras), places)
        found: dict[str, dict[str, ModuleFidelity]] = {}
        for (component, module), entry in zip(places, entries, strict=True):
            found.setdefault(component, {})[module] = entry
    return found


def _entry(
    component: str, module: str, merged: Adapter, loras: Mapping[str, tuple[Adapter, Weighing]]
) -> ModuleFidelity:
    inputs = [
        Share(name, adapter.components[component][module], weight)
        for name, (adapter, weigh) in loras.items()
        if module in adapter.components.get(component, {}) and (weight := weigh(component, module)) != 0
    ]
    return measure_module(merged.components[component][module], inputs)


def total(fidelity: Mapping[Any, ModuleFidelity]) -> float | None:
    """Relative error over all modules together; None where the weighted sum is zero."""
    target = math.hypot(*(entry.target for entry in fidelity.values()))
    return math.hypot(*(entry.difference for entry in fidelity.values())) / target if target > 0 else None


def measure_module(merged: LowRank, inputs: Sequence[Share]) -> ModuleFidelity:
    """Measure one module of a merge.

    Args:
        merged: The result.
        inputs: What each LoRA has there.
    """
    pairs = [merged, *(share.pair for share in inputs)]
    factors = [merged.scale, *(-share.weight * share.pair.scale for share in inputs)]
    products, spans = _products(pairs, factors)
    everything, summed = slice(None), slice(spans[0].stop, None)
    return ModuleFidelity(
        ranks={share.name: share.pair.rank for share in inputs},
        norms={share.name: _norm(products, span) for share, span in zip(inputs, spans[1:], strict=True)},
        rank=merged.rank,
        norm=_norm(products, spans[0]),
        target=_norm(products, summed),
        difference=_norm(products, everything),
    )


def _products(pairs: Sequence[LowRank], factors: Sequence[float]) -> tuple[Tensor, list[slice]]:
    """UᵀU ∘ DDᵀ in float64 for the stacked pairs, each times its factor, and where each pair lies in it.

    The sum over the square of some pairs is the squared norm of the sum of their deltas.
    """
    import torch

    rank, shape = sum(pair.rank for pair in pairs), pairs[0].shape
    up = torch.empty(rank, shape[0], dtype=torch.float64)
    down = torch.empty(rank, math.prod(shape[1:]), dtype=torch.float64)
    column = torch.empty(rank, dtype=torch.float64)
    spans, start = [], 0
    for pair, factor in zip(pairs, factors, strict=True):
        span = slice(start, start + pair.rank)
        up[span] = pair.up.flatten(1).T
        down[span] = pair.down.flatten(1)
        column[span] = factor
        spans.append(span)
        start = span.stop
    return _gram(up) * _gram(down) * torch.outer(column, column), spans


def _gram(rows: Tensor) -> Tensor:
    """The Gram matrix `rows @ rowsᵀ`, of which the half above the diagonal is taken from the half below."""
    import torch

    count = len(rows)
    found = torch.empty(count, count, dtype=rows.dtype)
    for first in range(0, count, _STRIP):
        strip = slice(first, min(first + _STRIP, count))
        torch.mm(rows[strip], rows[: strip.stop].T, out=found[strip, : strip.stop])
        found[: strip.start, strip] = found[strip, : strip.start].T
    return found


def _norm(products: Tensor, span: slice) -> float:
    return math.sqrt(max(float(products[span, span].sum()), 0.0))
