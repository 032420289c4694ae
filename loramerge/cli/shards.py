"""`run --shard 3/8`: a part of the recipes, the same on every machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from loramerge.cli.recipes import NamedRecipe


@dataclass(frozen=True)
class Shard:
    """One part of several.

    Attributes:
        number: Which, from 1.
        count: How many there are.
    """

    number: int
    count: int

    def of(self, recipes: Sequence[NamedRecipe], makers: Mapping[str, Sequence[str]]) -> tuple[NamedRecipe, ...]:
        """The recipes of this part, in their order. A recipe is in one part with those that make what it uses.

        Args:
            recipes: All of them.
            makers: Path of a recipe → those of the ones before it that make sources of it.
        """
        groups: dict[str, list[str]] = {}
        for each in recipes:
            group = [each.path]
            for other in {id(groups[path]): groups[path] for path in makers.get(each.path, ())}.values():
                group = [*other, *group]
            groups |= dict.fromkeys(group, group)
        sizes, parts = [0] * self.count, dict[str, int]()
        for each in recipes:
            if each.path not in parts:
                part = sizes.index(min(sizes))
                parts |= dict.fromkeys(groups[each.path], part)
                sizes[part] += len(groups[each.path])
        return tuple(each for each in recipes if parts[each.path] == self.number - 1)


class ShardType(click.ParamType[Shard]):
    """`K/N`."""

    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """Read it, or fail as an option does."""
        if isinstance(value, Shard):
            return value
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", str(value))
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is no part such as 3/8: the third of eight", param, ctx)
        return Shard(int(found[1]), int(found[2]))
