"""How much of each LoRA is in a merge, from the factors alone.

Δ is what a LoRA does at its weight, M the merge, and P projects onto what the LoRA writes and reads: Q Qᵀ M R Rᵀ, with
orthonormal bases Q of its columns and R of its rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.analysis.overlap_measures import Delta, spaces_of
from loramerge.numerics.blocks import products_of
from loramerge.numerics.threads import one_thread, workers

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Adapter, LowRank
    from loramerge.merging.block_weights import Weighing


@dataclass(frozen=True)
class Kept:
    """What a merge holds of one LoRA, as sums over modules.

    Attributes:
        projected: Σ ‖P M‖².
        product: Σ ⟨M, Δ⟩.
        missed: Σ ‖P M - Δ‖².
        own: Σ ‖Δ‖².
    """

    projected: float = 0.0
    product: float = 0.0
    missed: float = 0.0
    own: float = 0.0

    @property
    def energy(self) -> float | None:
        """‖P M‖ / ‖Δ‖, which counts what other LoRAs do there, too; None where the LoRA does nothing."""
        return math.sqrt(self.projected / self.own) if self.own > 0 else None

    @property
    def share(self) -> float | None:
        """⟨M, Δ⟩ / ‖Δ‖²; None where the LoRA does nothing.

        1: the merge holds the LoRA at its weight; 0: nothing of it; below 0: the opposite.
        """
        return self.product / self.own if self.own > 0 else None

    @property
    def likeness(self) -> float | None:
        """1 - ‖P M - Δ‖ / ‖Δ‖; None where the LoRA does nothing.

        1: in the LoRA's own directions the merge does what the LoRA does alone; 0: nothing there; less: more harm.
        """
        return 1 - math.sqrt(self.missed / self.own) if self.own > 0 else None

    def __add__(self, other: Kept) -> Kept:
        return Kept(
            self.projected + other.projected,
            self.product + other.product,
            self.missed + other.missed,
            self.own + other.own,
        )


@dataclass(frozen=True)
class OwnDirections:
    """One module of a LoRA: its delta is `columns @ core @ rows.T`.

    Attributes:
        columns: Orthonormal, out×k, float64.
        rows: Orthonormal, (in·kh·kw)×k, float64.
        core: k×k, float64, with the LoRA's weight.
    """

    columns: Tensor
    rows: Tensor
    core: Tensor

    def kept_in(self, merged: LowRank | None) -> Kept:
        """What a merge, which may leave the module alone, holds of it."""
        own = float(self.core.square().sum())
        if merged is None:
            return Kept(missed=own, own=own)
        up, down = merged.loaded().matrices()
        seen = (self.columns.T @ up) @ (down @ self.rows)
        return Kept(
            projected=float(seen.square().sum()),
            product=float((seen * self.core).sum()),
            missed=float((seen - self.core).square().sum()),
            own=own,
        )


@dataclass(frozen=True)
class OwnMatrix:
    """One module of a LoRA without factors worth having: it writes and reads everything, and P changes nothing.

    Attributes:
        pair: The delta.
        weight: Of the LoRA there.
    """

    pair: LowRank
    weight: float

    def kept_in(self, merged: LowRank | None) -> Kept:
        """What a merge, which may leave the module alone, holds of it."""
        if merged is None:
            own = float(products_of([self.pair.loaded()], [self.weight])[0, 0])
            return Kept(missed=own, own=own)
        # The merge with the other sign, so that the last sum is what it misses.
        products = products_of([merged.loaded(), self.pair.loaded()], [-1.0, self.weight], [(0, 1)]).tolist()
        return Kept(projected=products[0][0], product=-products[0][1], missed=products[2][2], own=products[1][1])


Places = Mapping[tuple[str, str], "OwnDirections | OwnMatrix"]
"""By component and module."""


def directions(loras: Mapping[str, tuple[Adapter, Weighing]]) -> dict[str, Places]:
    """What each LoRA does alone, at its weight: made once, for many merges to be compared with.

    Args:
        loras: Name → adapter and its weights.
    """
    found: dict[str, Places] = {}
    with one_thread(), workers() as pool:
        for name, (adapter, weigh) in loras.items():
            places = [(component, module, pair) for component, module, pair in adapter if weigh(component, module)]
            each = pool.map(lambda place, weigh=weigh: own_of(place[2], weigh(*place[:2])), places)
            found[name] = dict(zip([place[:2] for place in places], each, strict=True))
    return found


def own_of(pair: LowRank, weight: float) -> OwnDirections | OwnMatrix:
    """What a pair does at a weight."""
    if pair.is_dense:
        return OwnMatrix(pair, weight)
    own = Delta.of(pair, weight)
    spaces = spaces_of(own)
    columns, rows = own.up @ spaces.columns, own.down.T @ spaces.rows
    return OwnDirections(columns, rows, own.factor * ((columns.T @ own.up) @ (own.down @ rows)))


def kept(merged: Adapter, own: Mapping[str, Places]) -> dict[str, Kept]:
    """Name → what a merge holds of the LoRA, over all its modules; one that the merge leaves alone counts as lost.

    Args:
        merged: The merge.
        own: From `directions`.
    """
    with one_thread(), workers() as pool:

        def held(place: tuple[tuple[str, str], OwnDirections | OwnMatrix]) -> Kept:
            (component, module), there = place
            return there.kept_in(merged.components.get(component, {}).get(module))

        return {name: sum(pool.map(held, places.items()), Kept()) for name, places in own.items()}
