"""How much of each LoRA is in a merge, from the factors alone.

Two measures of what a merge M holds of a LoRA with the weighted delta Δ, each summed up over the LoRA's modules:

- energy kept: ‖P M‖ / ‖Δ‖. P projects onto what the LoRA writes and reads: Q Qᵀ M R Rᵀ, with orthonormal bases Q of its
  columns and R of its rows. It also counts what other LoRAs do there.
- share kept: ⟨M, Δ⟩ / ‖Δ‖². 1: the merge holds the LoRA at its weight; 0: nothing of it; below 0: the opposite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.analysis.overlap_measures import Delta, spaces_of
from loramerge.numerics.blocks import products_of
from loramerge.numerics.norms import inner_product

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.merging.block_weights import Weighing


@dataclass(frozen=True)
class Kept:
    """What a merge holds of one LoRA, as sums over modules.

    Attributes:
        projected: Σ ‖P M‖².
        product: Σ ⟨M, Δ⟩.
        own: Σ ‖Δ‖².
    """

    projected: float = 0.0
    product: float = 0.0
    own: float = 0.0

    @property
    def energy(self) -> float | None:
        """‖P M‖ / ‖Δ‖; None where the LoRA does nothing."""
        return math.sqrt(self.projected / self.own) if self.own > 0 else None

    @property
    def share(self) -> float | None:
        """⟨M, Δ⟩ / ‖Δ‖²; None where the LoRA does nothing."""
        return self.product / self.own if self.own > 0 else None

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.projected + other.projected, self.product + other.product, self.own + other.own)


def kept(merged: Adapter, loras: Mapping[str, tuple[Adapter, Weighing]]) -> dict[str, Kept]:
    """Measure what a merge holds of each of its LoRAs.

    Args:
        merged: The merge.
        loras: Name → adapter and its weights.

    Returns:
        By name. Modules that the merge does not have count with what they should have had.
    """
    found = {}
    for name, (adapter, weigh) in loras.items():
        total = Kept()
        for component, module, pair in adapter:
            if weight := weigh(component, module):
                total += kept_of(merged.components.get(component, {}).get(module), pair, weight)
        found[name] = total
    return found


def kept_of(merged: LowRank | None, pair: LowRank, weight: float) -> Kept:
    """The same of one module; float64.

    Args:
        merged: Of one shape with the pair; None where the merge does nothing.
        pair: What the LoRA has there.
        weight: Of the LoRA there.
    """
    own = Delta.of(pair, weight)
    if own.pair.is_dense or (merged is not None and merged.is_dense):
        return _of_dense(merged, own)
    spaces = spaces_of(own)
    energy = own.factor**2 * spaces.energy
    if merged is None:
        return Kept(own=energy)
    whole = Delta.of(merged, 1.0)
    ups, downs = own.up.T @ whole.up, own.down @ whole.down.T
    projected = (spaces.columns.T @ ups) @ (spaces.rows.T @ downs).T
    return Kept(
        projected=whole.factor**2 * float(projected.square().sum()),
        product=own.factor * whole.factor * inner_product(ups, downs),
        own=energy,
    )


def _of_dense(merged: LowRank | None, own: Delta) -> Kept:
    """A delta without factors writes and reads everything: nothing is projected away."""
    if merged is None:
        return Kept(own=float(products_of([own.pair], [own.weight])[0, 0]))
    products = products_of([merged.loaded(), own.pair], [1.0, own.weight])
    return Kept(projected=float(products[0, 0]), product=float(products[0, 1]), own=float(products[1, 1]))
