"""How far a merge is from the weighted sum of its LoRAs, from the factors alone.

‖merged - Σ wᵢΔᵢ‖ / ‖Σ wᵢΔᵢ‖ in the Frobenius norm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loramerge.merging.module import Share
from loramerge.numerics.norms import norms
from loramerge.numerics.threads import one_thread, workers

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.merging.block_weights import Weighing
    from loramerge.numerics.gram import KeptGram

EXACT = 1e-6
"""Relative error up to which a float32 merge is told from the weighted sum by rounding alone."""
POOR = 0.1
"""Relative error from which on a merge no longer looks like the LoRAs stacked."""


def in_words(error: float | None) -> str:
    """What a relative error of the merge, before any rounding, means; None is that of a weighted sum of zero."""
    if error is None:
        return "the weighted sum is zero"
    if error <= EXACT:
        return "the merge is the LoRAs stacked"
    return f"{'close to' if error <= POOR else 'far from'} the LoRAs stacked"


@dataclass(frozen=True)
class ModuleFidelity:
    """One module of a merge.

    Attributes:
        ranks: Rank of each LoRA that touches it, by name; 0 of what is no layer's weight.
        norms: Norm of each LoRA's weighted delta, by name.
        rank: Of the merged pair; 0 of what is no layer's weight.
        norm: Of the merged delta.
        target: Norm of the weighted sum.
        difference: Norm of merged minus weighted sum.
        products: Inner products of two LoRAs' weighted deltas, by the names of both.
        held: Inner product of the merged delta with each LoRA's weighted delta, by name.
    """

    ranks: Mapping[str, int]
    norms: Mapping[str, float]
    rank: int
    norm: float
    target: float
    difference: float
    products: Mapping[tuple[str, str], float] = field(default_factory=dict)
    held: Mapping[str, float] = field(default_factory=dict)

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
        Share(name, pair, weight, pair)
        for name, (adapter, weigh) in loras.items()
        if (pair := adapter.components.get(component, {}).get(module)) and (weight := weigh(component, module)) != 0
    ]
    return measure_module(merged.components[component][module], inputs)


def total(fidelity: Mapping[Any, ModuleFidelity]) -> float | None:
    """Relative error over all modules together; None where the weighted sum is zero."""
    target = math.hypot(*(entry.target for entry in fidelity.values()))
    return math.hypot(*(entry.difference for entry in fidelity.values())) / target if target > 0 else None


def measure_module(merged: LowRank, inputs: Sequence[Share], *, ups: KeptGram | None = None) -> ModuleFidelity:
    """Measure one module of a merge.

    Args:
        merged: The result.
        inputs: What each LoRA has there.
        ups: The Gram matrix of the result's up, for whoever has it.
    """
    factors = [share.weight * share.pair.scale for share in inputs]
    found = norms(merged, [share.pair for share in inputs], factors, ups=ups)
    names = [share.name for share in inputs]
    return ModuleFidelity(
        ranks={share.name: share.pair.rank for share in inputs},
        norms={share.name: norm for share, norm in zip(inputs, found.inputs, strict=True)},
        rank=merged.rank,
        norm=found.merged,
        target=found.target,
        difference=found.difference,
        products={(names[one], names[other]): product for (one, other), product in found.products.items()},
        held=dict(zip(names, found.held, strict=True)),
    )
