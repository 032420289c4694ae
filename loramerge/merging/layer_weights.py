"""The weights of a component that is no UNet: by blocks of a name, or by kinds of layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.bases.blocks import OTHER, block_of, kind_of, listed
from loramerge.documents.problems import did_you_mean
from loramerge.errors import MismatchError
from loramerge.merging import ranges
from loramerge.messages import counted, some

if TYPE_CHECKING:
    from loramerge.bases.component import Component

LAYERS: Mapping[str, str] = {
    "self-attention": "attention",
    "cross-attention": "attention",
    "attention": "attention",
    "feed-forward": "mlp",
    "modulation": "modulation",
}
"""Kind of layer → the key that weighs it; `other` weighs those that are not here."""
NAMES = frozenset(LAYERS.values())
_MOST = 8


@dataclass(frozen=True)
class WeighedBlocks:
    """Weights by block.

    Attributes:
        component: Whose.
        lists: Name of a list of blocks → those that the base has.
        by_block: Name and number → weight of those that are named.
        other: Weight of what lies in no block; None where it is not named.
    """

    component: str
    lists: Mapping[str, frozenset[int]]
    by_block: Mapping[tuple[str, int], float]
    other: float | None = None

    def weight(self, module: str) -> float | None:
        """None where nothing of the mapping names it."""
        block = self._block(module)
        return self.by_block.get(block) if block else self.other

    def key(self, module: str) -> str:
        """What the mapping would have to name: `blocks`, `blocks.10-29`, `other`."""
        block = self._block(module)
        if block is None:
            return OTHER
        name, number = block
        left = [each for each in self.lists[name] if (name, each) not in self.by_block]
        if len(left) == len(self.lists[name]):
            return name
        return f"{name}.{next(run for run in ranges.runs(left) if number in ranges.numbers(run))}"

    def _block(self, module: str) -> tuple[str, int] | None:
        block = _block(self.component, module)
        return block if block and block[1] in self.lists.get(block[0], ()) else None


@dataclass(frozen=True)
class WeighedKinds:
    """Weights by kind of layer.

    Attributes:
        given: The mapping.
        kinds: Kind of layer → pattern, of the family.
    """

    given: Mapping[str, Any]
    kinds: Mapping[str, str]

    def weight(self, module: str) -> float | None:
        """None where nothing of the mapping names it."""
        found = self.given.get(self.key(module))
        return None if found is None else float(found)

    def key(self, module: str) -> str:
        """What the mapping would have to name: `attention`, `mlp`, `modulation`, `other`."""
        return LAYERS.get(kind_of(module, self.kinds), OTHER)


def layer_weights(
    where: str, given: Mapping[str, Any], component: Component, kinds: Mapping[str, str]
) -> WeighedBlocks | WeighedKinds:
    """Look up what a mapping names.

    Args:
        where: What it stands at, for messages.
        given: Name of a list of blocks → a number, a list, or a mapping of ranges; or kind of layer → a number.
        component: Has the blocks.
        kinds: Kind of layer → pattern, of the family.

    Raises:
        MismatchError: A name or a number that the base does not have, or blocks and kinds of layers in one mapping.
    """
    both = mixed(given)
    if both:
        raise MismatchError(f"{where}: {both}")
    if NAMES.isdisjoint(given):
        return _by_block(where, given, component)
    found = WeighedKinds(given, kinds)
    there = {found.key(module) for module in component.modules}
    for name in given:
        if name not in there:
            raise MismatchError(f"{where}.{name}: the base has no such layers; it has {_quoted(sorted(there))}")
    return found


def mixed(given: Iterable[str]) -> str:
    """What is wrong with a mapping that has blocks as well as kinds of layers; empty where it has not."""
    names = [name for name in given if name != OTHER]
    kinds, blocks = [name for name in names if name in NAMES], [name for name in names if name not in NAMES]
    if not (kinds and blocks):
        return ""
    return (
        f"names kinds of layers ({_quoted(kinds)}) and blocks ({_quoted(blocks)}); "
        "a mapping has one or the other, for a module could be in both"
    )


def _by_block(where: str, given: Mapping[str, Any], component: Component) -> WeighedBlocks:
    lists = _lists(component)
    weights: dict[tuple[str, int], float] = {}
    for name, value in given.items():
        if name == OTHER:
            continue
        here = f"{where}.{name}"
        if name not in lists:
            known = f"it has {lists_of(component)}" if lists else "it has none: give one number for all of it"
            raise MismatchError(f"{here}: the base has no blocks of this name; {known}{did_you_mean(name, lists)}")
        expanded = _expanded(here, value, sorted(lists[name]))
        weights |= {(name, number): weight for number, weight in expanded}
    other = given.get(OTHER)
    return WeighedBlocks(component.name, lists, weights, None if other is None else float(other))


def _expanded(where: str, value: Any, there: Sequence[int]) -> Iterator[tuple[int, float]]:
    """Number of a block → weight."""
    if isinstance(value, int | float):
        yield from ((number, float(value)) for number in there)
    elif isinstance(value, Mapping):
        for key, why in ranges.problems(value):
            raise MismatchError(f"{where}.{key}: {why}")
        for key, weight in value.items():
            if missing := set(ranges.numbers(key)) - set(there):
                raise MismatchError(
                    f"{where}.{key}: the base has no {_as_runs(missing)} there; "
                    f"it has {_as_runs(there)}{did_you_mean(key, ranges.runs(there))}"
                )
            yield from ((number, float(weight)) for number in ranges.numbers(key))
    elif len(value) != len(there):
        raise MismatchError(
            f"{where} has {counted(len(value), 'weight')}; the base has {counted(len(there), 'block')} there, "
            f"{_as_runs(there)}"
        )
    else:
        yield from ((number, float(weight)) for number, weight in zip(there, value, strict=True))


def _block(component: str, module: str) -> tuple[str, int] | None:
    """The name of the list that a module's block is in, and its number; None outside of all blocks."""
    name, number = listed(block_of(component, module).removeprefix(f"{component}."))
    return None if number is None else (name, number)


def names_of(component: Component) -> tuple[str, ...]:
    """Names of the lists of blocks that it has."""
    return tuple(_lists(component))


def lists_of(component: Component) -> str:
    """The blocks that it has, for messages: `transformer_blocks` 0-18, `single_transformer_blocks` 0-37."""
    lists = _lists(component)
    return some((f"`{name}` {_as_runs(numbers)}" for name, numbers in lists.items()), most=_MOST)


def _lists(component: Component) -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for module in component.modules:
        if block := _block(component.name, module):
            found.setdefault(block[0], set()).add(block[1])
    return {name: frozenset(numbers) for name, numbers in found.items()}


def _as_runs(numbers: Iterable[int]) -> str:
    return some(ranges.runs(numbers), most=_MOST)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
