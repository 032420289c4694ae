"""How many modules PEFT gets at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.bases.base import Component
    from loramerge.merging.module import Part
    from loramerge.methods import Method

GROUP = 256
"""So many, or somewhat more."""


def groups_of(component: Component, parts: Sequence[Part], method: Method) -> list[list[str]]:
    """The modules that LoRAs touch, in the base's order, some at a time: PEFT compares each layer with all others.

    All LoRAs have a part in each group, for PEFT merges one that is alone by another type. All modules are one group
    where the type draws random numbers: PEFT draws some for every module before the first mask.

    Args:
        component: Of the base.
        parts: The LoRAs, at least one module each.
        method: The combination type.
    """
    touched = {module for part in parts for module in part.modules}
    ordered = [module for module in component.modules if module in touched]
    most = min(len(ordered) // GROUP, *(len(part.modules) for part in parts))
    count = max(most, 1) if method.masks_from is None else 1
    while (dealt := _dealt(ordered, parts, count)) is None:
        count -= 1
    return dealt


def _dealt(ordered: Sequence[str], parts: Sequence[Part], count: int) -> list[list[str]] | None:
    """Modules in so many groups; None where a LoRA would have no part in one.

    Each LoRA's are dealt in turn, those of the LoRA that touches the fewest first.
    """
    owner: dict[str, int] = {}
    for part in sorted(parts, key=lambda each: len(each.modules)):
        there = {owner[module] for module in part.modules if module in owner}
        absent = [group for group in range(count) if group not in there]
        left = [module for module in ordered if module in part.modules and module not in owner]
        if len(left) < len(absent):
            return None
        sizes = Counter(owner.values())
        for place, module in enumerate(left):
            group = absent[place] if place < len(absent) else min(range(count), key=lambda each: sizes[each])
            owner[module] = group
            sizes[group] += 1
    groups: list[list[str]] = [[] for _ in range(count)]
    for module in ordered:
        groups[owner[module]].append(module)
    return groups
