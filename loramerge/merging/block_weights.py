"""How much of a LoRA goes into each module, from the recipe's number or mapping.

The mapping means what `pipeline.set_adapters(name, mapping)` makes of it (diffusers/loaders/unet_loader_utils.py and
utils/peft_utils.py): whatever is not named weighs 1, `down` and `up` reach the blocks that have attention, and the
resnets and samplers of such a block weigh as its attention of the same position does. What of the UNet none of them
reaches, diffusers leaves at 1 or fails on; here it is `other`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.bases.base import Base
from loramerge.errors import MismatchError
from loramerge.messages import counted, some

if TYPE_CHECKING:
    from loramerge.adapter import Adapter

Weighing = Callable[[str, str], float]
"""(component, module) → weight."""

_ATTENTION = re.compile(r"^(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.")
_MID = "mid_block.attentions.0"
_OTHER = "other"


def weighing(name: str, weight: float | Mapping[str, Any], base: Base) -> Weighing:
    """The weight of every module.

    Args:
        name: The LoRA's, for messages.
        weight: A number, or `{unet: {down: …, mid: …, up: {block_0: …, block_1: [ … ]}, other: …}, text_encoder: …}`.
        base: Has the blocks.

    Raises:
        MismatchError: A component, block or number of attentions that the base does not have.
    """
    if not isinstance(weight, Mapping):
        return lambda _component, _module: weight
    named = _Named.of(name, weight, base)

    def weigh(component: str, module: str) -> float:
        found = named.weight(component, module)
        return 1.0 if found is None else found

    return weigh


def unnamed(name: str, weight: float | Mapping[str, Any], base: Base, adapter: "Adapter") -> Iterator[str]:
    """A sentence on the modules that weigh 1 because a mapping does not name them; none where it names all.

    Args:
        name: The LoRA's.
        weight: As for `weighing`.
        base: Has the blocks.
        adapter: The LoRA, fitted to the base.
    """
    if not isinstance(weight, Mapping):
        return
    named = _Named.of(name, weight, base)
    left: dict[str, list[str]] = {}
    for component, module, _ in adapter:
        if named.weight(component, module) is None:
            left.setdefault(named.key(component, module), []).append(module)
    if left:
        kept = sum(map(len, left.values()))
        yield (
            f"LoRA {name}: {kept} of {len(adapter)} modules keep weight 1, because its weight does not name "
            f"{' or '.join(_in_words(key, left[key]) for key in sorted(left))}"
        )


def _in_words(key: str, modules: list[str]) -> str:
    # What is in a block or a component its name says.
    examples = f": {some(modules)}" if key.endswith(_OTHER) else ""
    return f"`{key}` ({counted(len(modules), 'module')}{examples})"


@dataclass(frozen=True)
class _Named:
    """A mapping by component and block, and what of a base it names.

    Attributes:
        weights: The mapping.
        attentions: The base's places in the UNet that weights reach, `down_blocks.1.attentions.0` and the like.
        by_attention: Weight of those that are named.
    """

    weights: Mapping[str, Any]
    attentions: frozenset[str]
    by_attention: Mapping[str, float]

    @classmethod
    def of(cls, name: str, weights: Mapping[str, Any], base: Base) -> "_Named":
        if unknown := set(weights) - set(base.components):
            raise MismatchError(
                f"LoRA {name}: its weight names {', '.join(sorted(unknown))}; the base has {', '.join(base.components)}"
            )
        sides = _attentions(base.components["unet"].modules)
        places = {
            f"{side}_blocks.{block}.attentions.{position}"
            for side, blocks in sides.items()
            for block, count in blocks.items()
            for position in range(count)
        }
        unet = weights.get("unet")
        by_attention = dict(_by_attention(name, unet, sides)) if isinstance(unet, Mapping) else {}
        return cls(weights, frozenset({_MID, *places}), by_attention)

    def weight(self, component: str, module: str) -> float | None:
        """None where nothing of the mapping names it."""
        given = self.weights.get(component)
        if not isinstance(given, Mapping):
            return None if given is None else float(given)
        place = _position(module)
        found = self.by_attention.get(place) if place in self.attentions else given.get(_OTHER)
        return None if found is None else float(found)

    def key(self, component: str, module: str) -> str:
        """What a mapping would have to name: `text_encoder`, `unet.down`, `unet.up.block_1`, `unet.other`."""
        given = self.weights.get(component)
        if not isinstance(given, Mapping):
            return component
        place = _position(module)
        if place not in self.attentions:
            return f"{component}.{_OTHER}"
        side, _, rest = place.partition("_")
        block = f".block_{rest.split('.')[1]}" if isinstance(given.get(side), Mapping) else ""
        return f"{component}.{side}{block}"


def _position(module: str) -> str:
    """The attention as which a module of the UNet weighs, if the base has it; empty outside of all blocks."""
    if module.startswith(f"{_MID}."):
        return _MID
    side, _, rest = module.partition(".")
    position = rest.split(".")
    return f"{side}.{position[0]}.attentions.{position[2]}" if position[2:] else ""


def _by_attention(
    name: str, unet: Mapping[str, Any], sides: Mapping[str, Mapping[int, int]]
) -> Iterator[tuple[str, float]]:
    if "mid" in unet:
        yield _MID, float(unet["mid"])
    for side, blocks in sides.items():
        given = unet.get(side, {})
        if not isinstance(given, Mapping):
            given = {f"block_{block}": given for block in blocks}
        for key, value in given.items():
            where = f"LoRA {name}: weight.unet.{side}.{key}"
            block = int(key.removeprefix("block_"))
            if block not in blocks:
                known = ", ".join(f"block_{known}" for known in sorted(blocks))
                raise MismatchError(
                    f"{where}: the base has no attention there; its {side} blocks with it are {known}",
                    hint=f"weigh blocks without attention by weight.unet.{_OTHER}",
                )
            for position, weight in enumerate(_expanded(where, value, blocks[block])):
                yield f"{side}_blocks.{block}.attentions.{position}", weight


def _attentions(modules: Iterable[str]) -> dict[str, dict[int, int]]:
    """Side → block → number of attentions."""
    found: dict[str, dict[int, int]] = {"down": {}, "up": {}}
    for module in modules:
        match = _ATTENTION.match(module)
        if match:
            side, block, position = match[1], int(match[2]), int(match[3])
            found[side][block] = max(found[side].get(block, 0), position + 1)
    return found


def _expanded(where: str, value: Any, count: int) -> list[float]:
    if isinstance(value, int | float):
        return [float(value)] * count
    numbers = [float(number) for number in value]
    if len(numbers) == 1:
        return numbers * count
    if len(numbers) != count:
        raise MismatchError(f"{where} has {len(numbers)} weights; there are {count} attentions")
    return numbers
