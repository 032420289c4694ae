"""How much of a LoRA goes into each module, from the recipe's number or mapping.

The mapping means what `pipeline.set_adapters(name, mapping)` makes of it (diffusers/loaders/unet_loader_utils.py and
utils/peft_utils.py): whatever is not named weighs 1, `down` and `up` reach the blocks that have attention, and the
resnets and samplers of such a block weigh as its attention of the same position does.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from loramerge.bases.base import Base
from loramerge.errors import MismatchError

Weighing = Callable[[str, str], float]
"""(component, module) → weight."""

_ATTENTION = re.compile(r"^(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.")


def weighing(name: str, weight: float | Mapping[str, Any], base: Base) -> Weighing:
    """The weight of every module.

    Args:
        name: The LoRA's, for messages.
        weight: A number, or `{unet: {down: …, mid: …, up: {block_0: …, block_1: [ … ]}}, text_encoder: …}`.
        base: Has the blocks.

    Raises:
        MismatchError: A component, block or number of attentions that the base does not have.
    """
    if not isinstance(weight, Mapping):
        return lambda _component, _module: weight
    unknown = set(weight) - set(base.components)
    if unknown:
        raise MismatchError(
            f"LoRA {name}: its weight names {', '.join(sorted(unknown))}; the base has {', '.join(base.components)}"
        )
    unet = weight.get("unet", 1.0)
    by_attention = _by_attention(name, unet, base) if isinstance(unet, Mapping) else None

    def weigh(component: str, module: str) -> float:
        if component == "unet" and by_attention is not None:
            return _of_module(module, by_attention)
        return float(weight.get(component, 1.0))

    return weigh


def _of_module(module: str, by_attention: Mapping[str, float]) -> float:
    if module.startswith("mid_block.attentions.0."):
        return by_attention["mid_block.attentions.0"]
    side, _, rest = module.partition(".")
    position = rest.split(".")
    # conv_in, time_embedding.linear_1 and their like lie outside of all blocks.
    within = f"{side}.{position[0]}.attentions.{position[2]}" if len(position) > 2 else ""  # noqa: PLR2004
    return by_attention.get(within, 1.0)


def _by_attention(name: str, unet: Mapping[str, Any], base: Base) -> dict[str, float]:
    found = {"mid_block.attentions.0": float(unet.get("mid", 1.0))}
    for side, blocks in _attentions(base.components["unet"].modules).items():
        given = unet.get(side, 1.0)
        if not isinstance(given, Mapping):
            given = {f"block_{block}": given for block in blocks}
        for key, value in given.items():
            where = f"LoRA {name}: weight.unet.{side}.{key}"
            block = int(key.removeprefix("block_"))
            if block not in blocks:
                known = ", ".join(f"block_{known}" for known in sorted(blocks))
                raise MismatchError(f"{where}: the base has no attention there; its {side} blocks with it are {known}")
            for position, weight in enumerate(_expanded(where, value, blocks[block])):
                found[f"{side}_blocks.{block}.attentions.{position}"] = weight
    return found


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
