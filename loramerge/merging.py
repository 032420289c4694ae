"""What an engine takes and what it gives, one component of the base at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.adapter import LowRank, Modules


@dataclass(frozen=True)
class Part:
    """One LoRA's share in a component.

    Attributes:
        name: The LoRA's; keyed random numbers depend on it.
        modules: Its pairs; those that weigh nothing are absent.
        weights: The weight of each of them.
    """

    name: str
    modules: Modules
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Merged:
    """One merged module.

    Attributes:
        pair: Float32, on the CPU.
        retained_energy: Where a decomposition cut the combined delta to a rank, the share of its squared Frobenius
            norm that was kept; None where nothing was cut or nobody measured it.
    """

    pair: LowRank
    retained_energy: float | None = None
