"""What is to be said of how LoRAs take part in a merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from loramerge.merging.block_weights import unnamed
from loramerge.merging.parameters import apart
from loramerge.messages import counted
from loramerge.stages.division import joined, quoted

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.merging.module import Part
    from loramerge.methods import Method
    from loramerge.stages.combine import WeightedAdapter
    from loramerge.stages.division import Division


def is_one(divisions: Sequence[Division]) -> bool:
    """Whether there is one LoRA in all components together, also of those that do not count in their part."""
    there = {name for division in divisions for parts in division.parts.values() for name in parts}
    return len(there.union(*(division.left for division in divisions))) == 1


def notes_of(
    loras: Sequence[WeightedAdapter],
    base: Base,
    divisions: Sequence[Division],
    *,
    reference: bool = False,
) -> Iterator[str]:
    """Modules that take no part or are taken as they are, in words.

    Args:
        loras: All of them.
        base: What they were fitted to.
        divisions: Which rule merges what of those that take part.
        reference: Whether every step is left to PEFT itself.
    """
    by_component = joined(divisions)
    for lora in loras:
        yield from unnamed(lora.name, lora.weight, base, lora.adapter)
        used = sum(len(parts[lora.name].modules) for parts in by_component.values() if lora.name in parts)
        used += sum(division.left.get(lora.name, 0) for division in divisions)
        if used < len(lora.adapter):
            left = len(lora.adapter) - used
            yield f"LoRA {lora.name}: {left} of {len(lora.adapter)} modules weigh 0 and take no part"
    alone = is_one(divisions)
    for division in divisions:
        if division.note:
            yield division.note
        method, where = division.method, f" in {quoted(division.match)}" if division.match else ""
        for component, every in division.parts.items():
            yield from _of_parameters(component, apart(every, layers=False), method, reference=reference)
            parts = apart(every, layers=True)
            if len(parts) == 1 and not (method.takes_one and (alone or not method.decomposes)):
                yield (
                    f"{component}{where}: only {next(iter(parts))} touches it, so it is taken as it is, times its "
                    f"weight; `{method.combination_type}` has nothing to merge there"
                )


def _of_parameters(component: str, parts: Mapping[str, Part], method: Method, *, reference: bool) -> Iterator[str]:
    """What becomes of norms, biases and the like, where that is not what becomes of layers."""
    count = len({module for part in parts.values() for module in part.modules})
    what = f"{component}: {counted(count, 'parameter')} beside the layers"
    if parts and reference:
        yield f"{what} have no part in PEFT's own merge; they are combined value by value"
    elif len(parts) > 1 and (method.factor_wise or (method.decomposes and not method.sums_deltas)):
        if method.sums_values:
            yield f"{what} have no singular vectors: they are the weighted sum"
            return
        yield (
            f"{what} have no factors and no rank: `{method.combination_type}` combines their values, with the whole "
            "weight of each LoRA"
        )
