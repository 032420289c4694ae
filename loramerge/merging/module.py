"""What an engine takes and what it gives, one component of the base at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

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

    def only(self, modules: Collection[str]) -> Part:
        """Some of its modules alone."""
        return Part(
            self.name, {each: self.modules[each] for each in modules}, {each: self.weights[each] for each in modules}
        )

    def with_others(self, other: Part) -> Part:
        """Together with what the same LoRA brings elsewhere."""
        return Part(self.name, {**self.modules, **other.modules}, {**self.weights, **other.weights})


@dataclass(frozen=True)
class Share:
    """One LoRA's share in a module.

    Attributes:
        name: The LoRA's.
        pair: In memory.
        weight: What its delta is multiplied by.
        source: The pair where it was read from.
    """

    name: str
    pair: LowRank
    weight: float
    source: LowRank


def shares(parts: Sequence[Part], module: str) -> tuple[Share, ...]:
    """What each LoRA that touches a module brings to it, read into memory."""
    return tuple(
        Share(part.name, part.modules[module].loaded(), part.weights[module], part.modules[module])
        for part in parts
        if module in part.modules
    )


@dataclass(frozen=True)
class Merged:
    """One merged module.

    Attributes:
        pair: Float32, on the CPU.
        retained_energy: Where a decomposition cut the combined delta to a rank, the share of its squared Frobenius
            norm that was kept; None where nothing was cut or nobody measured it.
        again: The same pair, made anew from files each time it is asked for, where that takes no more than reading it.
        up_formats: Number formats of the files from which its up was taken over as it is; none where it was computed.
    """

    pair: LowRank
    retained_energy: float | None = None
    again: LowRank | None = None
    up_formats: frozenset[str] = frozenset()


Finished = TypeVar("Finished")
Finish = Callable[[str, Sequence[Share], Merged], Finished]
"""(module, its inputs, the result) → what the caller wants to have of it. It is called side by side for modules."""
