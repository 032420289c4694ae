"""LoRAs that are one LoRA under several names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.adapter import Adapter

_MOST_NAMES = 6


@dataclass(frozen=True)
class Twins:
    """LoRAs that are the same.

    Attributes:
        names: Two or more, in the recipe's order.
        one_file: Whether their files are the same bytes; else their tensors alone are.
    """

    names: tuple[str, ...]
    one_file: bool

    @property
    def what(self) -> str:
        """What they are, in words."""
        return "the same file" if self.one_file else "the same LoRA in different files"

    def __str__(self) -> str:
        few = len(self.names) == 2  # noqa: PLR2004  a pair
        return f"{' and '.join(self.names) if few else some(self.names, _MOST_NAMES)} are {self.what}"

    def merged(self, weights: Mapping[str, float | None]) -> str:
        """A sentence on what that means for a merge.

        Args:
            weights: By name; None where weights differ by block.
        """
        own = [weights[name] for name in self.names]
        known = [weight for weight in own if weight is not None]
        count = len(self.names)
        if len(known) < count:
            return f"{self}, which takes part {count} times; give it once, with the sums of the weights"
        weight = round(sum(known), 9)
        return (
            f"{self}, which takes part {count} times, with weight {weight:.6g} in all; "
            f"{'give it once' if weight else 'leave it out'}"
        )


def twins(loras: Mapping[str, tuple[Adapter, Sequence[str]]]) -> list[Twins]:
    """Every LoRA that is given more than once. Tensors are read until two of them differ.

    Args:
        loras: Name → adapter and the SHA-256 of its files.
    """
    groups: list[list[str]] = []
    for name, (adapter, digests) in loras.items():
        for group in groups:
            other, known = loras[group[0]]
            one_file = sorted(known) == sorted(digests)
            if _same_places(other, adapter) if one_file else other.equals(adapter):
                group.append(name)
                break
        else:
            groups.append([name])
    return [
        Twins(tuple(group), len({tuple(sorted(loras[name][1])) for name in group}) == 1)
        for group in groups
        if len(group) > 1
    ]


def _same_places(one: Adapter, other: Adapter) -> bool:
    """Whether two have the same modules: one file may be read for each of two denoisers."""
    return [entry[:2] for entry in one] == [entry[:2] for entry in other]


def pairs_of(found: Sequence[Twins]) -> dict[tuple[str, str], str]:
    """What every pair of the same is, in words."""
    return {pair: group.what for group in found for pair in combinations(group.names, 2)}
