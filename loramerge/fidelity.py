"""How far a merge is from the weighted sum of its LoRAs, from the factors alone.

‖merged - Σ wᵢΔᵢ‖ / ‖Σ wᵢΔᵢ‖ in the Frobenius norm. With U the stacked `up`s and D the stacked `down`s of all pairs,
‖U·D‖² = tr(UᵀU · DDᵀ): two small Gram matrices in float64 instead of a dense delta. Their rounding limits what can be
told from zero to about 1e-8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Adapter, LowRank
    from loramerge.weighing import Weighing


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
    """Measure every module of a merge.

    Args:
        merged: The result.
        loras: Name → adapter and its weights.
    """
    found: dict[str, dict[str, ModuleFidelity]] = {}
    for component, module, pair in merged:
        inputs = {
            name: (adapter.components[component][module], weight)
            for name, (adapter, weigh) in loras.items()
            if module in adapter.components.get(component, {}) and (weight := weigh(component, module)) != 0
        }
        found.setdefault(component, {})[module] = _module(pair, inputs)
    return found


def total(fidelity: Mapping[str, ModuleFidelity]) -> float | None:
    """Relative error over all modules together; None where the weighted sum is zero."""
    target = math.hypot(*(entry.target for entry in fidelity.values()))
    return math.hypot(*(entry.difference for entry in fidelity.values())) / target if target > 0 else None


def _module(merged: LowRank, inputs: Mapping[str, tuple[LowRank, float]]) -> ModuleFidelity:
    import torch

    pairs = [(merged, 1.0), *((pair, -weight) for pair, weight in inputs.values())]
    matrices = [pair.matrices() for pair, _ in pairs]
    up = torch.cat([up * weight for (up, _), (_, weight) in zip(matrices, pairs, strict=True)], dim=1)
    down = torch.cat([down for _, down in matrices])
    products = (up.T @ up) * (down @ down.T)
    ends = torch.tensor([pair.rank for pair, _ in pairs]).cumsum(0).tolist()
    spans = [slice(end - pair.rank, end) for end, (pair, _) in zip(ends, pairs, strict=True)]
    inside = slice(ends[0], None)
    return ModuleFidelity(
        ranks={name: pair.rank for name, (pair, _) in inputs.items()},
        norms={name: _norm(products, span) for name, span in zip(inputs, spans[1:], strict=True)},
        rank=merged.rank,
        norm=_norm(products, spans[0]),
        target=_norm(products, inside),
        difference=_norm(products, slice(None)),
    )


def _norm(products: Tensor, span: slice) -> float:
    return math.sqrt(max(float(products[span, span].sum()), 0.0))
