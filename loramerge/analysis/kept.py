"""How much of each LoRA is left in a merge, from the factors alone.

With P the projection onto what a LoRA's delta Δ writes to (columns) and reads (rows), 1 - ‖P(merged) - Δ‖ / ‖Δ‖: 1
where the merge does in the LoRA's own directions what the LoRA does alone, 0 where it does nothing there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.numerics.threads import one_thread, workers

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Adapter, LowRank
    from loramerge.merging.block_weights import Weighing


@dataclass(frozen=True)
class OwnDirections:
    """One module of a LoRA: its delta is `columns @ core @ rows.T`.

    Attributes:
        columns: Orthonormal, out×r, float64.
        rows: Orthonormal, (in·kh·kw)×r, float64.
        core: r×r, float64, with the LoRA's weight.
    """

    columns: Tensor
    rows: Tensor
    core: Tensor

    @classmethod
    def of(cls, pair: LowRank, weight: float) -> OwnDirections:
        """Those of a pair, at its weight."""
        import torch

        up, down = pair.loaded().matrices()
        columns, left = torch.linalg.qr(up)
        rows, right = torch.linalg.qr(down.T)
        return cls(columns, rows, weight * left @ right.T)

    @property
    def norm(self) -> float:
        """Of the delta."""
        return float(self.core.norm())

    def difference(self, merged: LowRank | None) -> float:
        """‖P(merged) - Δ‖; a merge that leaves the module alone has None."""
        if merged is None:
            return self.norm
        up, down = merged.loaded().matrices()
        return float(((self.columns.T @ up) @ (down @ self.rows) - self.core).norm())


Places = Mapping[tuple[str, str], OwnDirections]
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
            each = pool.map(lambda place, weigh=weigh: OwnDirections.of(place[2], weigh(*place[:2])), places)
            found[name] = dict(zip([place[:2] for place in places], each, strict=True))
    return found


def kept(merged: Adapter, own: Mapping[str, Places]) -> dict[str, float]:
    """Name → how much of the LoRA is left in a merge, over all its modules together; see above.

    Args:
        merged: The merge.
        own: From `directions`; what changes nothing, or weighs 0, has no part.
    """
    norms = {name: math.hypot(*(each.norm for each in places.values())) for name, places in own.items()}
    with one_thread(), workers() as pool:
        differences = {
            name: math.hypot(
                *pool.map(
                    lambda place: place[1].difference(merged.components.get(place[0][0], {}).get(place[0][1])),
                    places.items(),
                )
            )
            for name, places in own.items()
        }
    return {name: 1 - differences[name] / norm for name, norm in norms.items() if norm > 0}
