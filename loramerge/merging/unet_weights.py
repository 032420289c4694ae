"""The weights of a UNet's modules.

The mapping means what `pipeline.set_adapters(name, mapping)` makes of it (diffusers/loaders/unet_loader_utils.py and
utils/peft_utils.py): whatever is not named weighs 1, `down` and `up` reach the blocks that have attention, and the
resnets and samplers of such a block weigh as its attention of the same position does. What of the UNet none of them
reaches, diffusers leaves at 1 or fails on; here it is `other`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loramerge.bases.blocks import OTHER
from loramerge.errors import MismatchError

_ATTENTION = re.compile(r"^(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.")
_MID = "mid_block.attentions.0"


@dataclass(frozen=True)
class WeighedUNet:
    """A mapping of `down`, `mid`, `up` and `other`, and what of a UNet it names.

    Attributes:
        given: The mapping.
        attentions: The places in the UNet that weights reach, `down_blocks.1.attentions.0` and the like.
        by_attention: Weight of those that are named.
    """

    given: Mapping[str, Any]
    attentions: frozenset[str]
    by_attention: Mapping[str, float]

    @classmethod
    def of(cls, where: str, given: Mapping[str, Any], modules: Iterable[str]) -> WeighedUNet:
        """Look up what a mapping names.

        Args:
            where: What it stands at, for messages.
            given: The mapping.
            modules: The UNet's.

        Raises:
            MismatchError: A block or a number of attentions that the base does not have.
        """
        sides = _attentions(modules)
        places = {
            f"{side}_blocks.{block}.attentions.{position}"
            for side, blocks in sides.items()
            for block, count in blocks.items()
            for position in range(count)
        }
        return cls(given, frozenset({_MID, *places}), dict(_by_attention(where, given, sides)))

    def weight(self, module: str) -> float | None:
        """None where nothing of the mapping names it."""
        place = _position(module)
        found = self.by_attention.get(place) if place in self.attentions else self.given.get(OTHER)
        return None if found is None else float(found)

    def key(self, module: str) -> str:
        """What the mapping would have to name: `down`, `up.block_1`, `other`."""
        place = _position(module)
        if place not in self.attentions:
            return OTHER
        side, _, rest = place.partition("_")
        block = f".block_{rest.split('.')[1]}" if isinstance(self.given.get(side), Mapping) else ""
        return f"{side}{block}"


def _position(module: str) -> str:
    """The attention as which a module of the UNet weighs, if the base has it; empty outside of all blocks."""
    if module.startswith(f"{_MID}."):
        return _MID
    side, _, rest = module.partition(".")
    position = rest.split(".")
    return f"{side}.{position[0]}.attentions.{position[2]}" if position[2:] else ""


def _by_attention(
    where: str, unet: Mapping[str, Any], sides: Mapping[str, Mapping[int, int]]
) -> Iterator[tuple[str, float]]:
    if "mid" in unet:
        yield _MID, float(unet["mid"])
    for side, blocks in sides.items():
        given = unet.get(side, {})
        if not isinstance(given, Mapping):
            given = {f"block_{block}": given for block in blocks}
        for key, value in given.items():
            here = f"{where}.{side}.{key}"
            block = int(key.removeprefix("block_"))
            if block not in blocks:
                known = ", ".join(f"block_{known}" for known in sorted(blocks))
                raise MismatchError(
                    f"{here}: the base has no attention there; its {side} blocks with it are {known}",
                    hint=f"weigh blocks without attention by weight.unet.{OTHER}",
                )
            for position, weight in enumerate(_expanded(here, value, blocks[block])):
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
