"""How many modules PEFT gets at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.bases.base import Component
    from loramerge.merging.module import Part
    from loramerge.methods import Method

GROUP = 256
"""So many, or a few more."""


def groups_of(component: Component, parts: Sequence[Part], method: Method) -> list[list[str]]:
    """The modules that LoRAs touch, in the base's order, some at a time: PEFT compares each layer with all others.

    All LoRAs have a part in each group, for PEFT merges one that is alone by another type. All modules are one group
    where the type draws random numbers: PEFT draws some for every module before the first mask.

    Args:
        component: Of the base.
        parts: The LoRAs, at least one module each.
        method: The combination type.
    """
    most = GROUP if method.masks_from is None else len(component.modules)
    touched = {module for part in parts for module in part.modules}
    groups: list[list[str]] = [[]]
    absent = {*range(len(parts))}
    for module in (each for each in component.modules if each in touched):
        if len(groups[-1]) >= most and not absent:
            groups.append([])
            absent = {*range(len(parts))}
        groups[-1].append(module)
        absent -= {place for place, part in enumerate(parts) if module in part.modules}
    if absent and len(groups) > 1:
        last = groups.pop()
        groups[-1] += last
    return groups
