"""LoRAs with one rank, for the types that combine factors: the deltas stay as they are."""

from __future__ import annotations

from loramerge import Adapter, LowRank


def rank_of(adapter: Adapter) -> int:
    """The largest that it has."""
    return max(pair.rank for modules in adapter.components.values() for pair in modules.values())


def filled_up(adapter: Adapter, rank: int) -> Adapter:
    """The same deltas, every pair with this rank."""

    def filled(pair: LowRank) -> LowRank:
        down = pair.down.new_zeros(rank, *pair.down.shape[1:])
        up = pair.up.new_zeros(pair.up.shape[0], rank, *pair.up.shape[2:])
        down[: pair.rank], up[:, : pair.rank] = pair.down, pair.up
        return LowRank(down, up, pair.scale)

    return Adapter(
        {
            component: {name: filled(pair) for name, pair in modules.items()}
            for component, modules in adapter.components.items()
        }
    )
