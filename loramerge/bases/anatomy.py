"""How modules are grouped for people: the blocks in the base's order, many of one name in rows, and kinds of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

from loramerge.bases.blocks import block_of, in_order, kind_of, listed, place_of

MOST = 24
"""As many blocks of one name have a row each."""
TOGETHER = 4
"""Blocks in a row, where there are more."""
_UNNAMED = ("unet.", "transformer.", "prior.", "decoder.", "model.")
"""What a base is mostly made of; its blocks are known without it. `transformer_2` is said, as text encoders are."""


@dataclass(frozen=True)
class Anatomy:
    """The blocks of a base, in its order.

    Attributes:
        blocks: As `block_of` names them; those that are not here come last, sorted by name.
        kinds: Kind of layer → pattern, of the family.
    """

    blocks: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    def with_others(self, blocks: Iterable[str]) -> Anatomy:
        """The same, and what else there is: a LoRA can have blocks of which no base is known."""
        return Anatomy(tuple(dict.fromkeys((*self.blocks, *sorted(blocks, key=in_order)))), self.kinds)

    def kind_of(self, module: str) -> str:
        """The kind of layer."""
        return kind_of(module, self.kinds)

    def row_of(self, block: str) -> str:
        """The block itself, or `transformer.blocks.4-7` where there are many of the name."""
        return self._rows.get(block, block)

    def part_of(self, component: str, module: str) -> str:
        """The row of a module's block; a text encoder is one part, whatever blocks it has."""
        return component if component.startswith("text_encoder") else self.row_of(block_of(component, module))

    def in_order(self, parts: Iterable[str]) -> list[str]:
        """Blocks, rows and whole components as the base has them, each once."""
        return sorted(set(parts), key=self.place)

    def place(self, part: str) -> tuple[int, int, tuple[int, str, int]]:
        """Sorts blocks, rows and whole components as the base has them."""
        return place_of(part.partition(".")[0]), self._places.get(part, len(self.blocks)), in_order(part)

    @cached_property
    def _rows(self) -> Mapping[str, str]:
        lists: dict[str, list[int]] = {}
        for name, number in map(listed, self.blocks):
            if number is not None:
                lists.setdefault(name, []).append(number)
        found: dict[str, str] = {}
        for name, numbers in lists.items():
            if len(numbers) <= MOST:
                continue
            for _, each in groupby(sorted(numbers), key=lambda number: number // TOGETHER):
                row = list(each)
                ends = dict.fromkeys((row[0], row[-1]))
                found |= {f"{name}.{number}": f"{name}.{'-'.join(map(str, ends))}" for number in row}
        return found

    @cached_property
    def _places(self) -> Mapping[str, int]:
        # A row stands where its first block does.
        backwards = [*enumerate(self.blocks)][::-1]
        return {name: place for place, block in backwards for name in (block, self.row_of(block))}


def label(part: str) -> str:
    """`down_blocks.0` for `unet.down_blocks.0`, `blocks.4-7` for `transformer.blocks.4-7`; others are named."""
    return next((part.removeprefix(start) for start in _UNNAMED if part.startswith(start)), part)
