"""Where in a base a module lies: its block, and what kind of layer it is part of.

Names are told by their beginning and their parts, whatever their spelling: diffusers', sgm's or kohya's flat one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

_BLOCK = re.compile(r"(?:down_blocks|up_blocks|input_blocks|output_blocks)[._]\d+|mid_block|middle_block")
_NUMBERED = re.compile(r"(.*?[^._\d])[._](\d+)(?=[._])", re.DOTALL)
"""A number with something behind it: one at the end is that of a single layer, as in `linear_1`."""
_NUMBER_AT_END = re.compile(r"(.*)\.([0-9]{1,9})", re.DOTALL)
_NO_BLOCK = re.compile(r"(^|[._])(net|mlp|proj|to_out|ff)$")
"""What numbers are behind that count the layers of one block."""
_LAYER = re.compile(r"encoder[._](layers)[._](\d+)")
COMPONENTS = (
    "unet",
    "transformer",
    "transformer_2",
    "transformer_ref",
    "prior",
    "decoder",
    "connectors",
    "text_conditioner",
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
    "text_encoder_4",
    "model",
)
"""What of a base LoRAs can touch, in the order in which it is shown."""
_KINDS = {
    "modulation": re.compile(
        r"(^|[._])(adaln|modulation|mod|scale_shift|[av]2[av]_gate)([._]|$)|(^|[._])norm[a-z0-9_]*[._]linear([._]\d)?$",
        re.IGNORECASE,
    ),
    "self-attention": re.compile(r"(^|[._])(attn1|self_?att(n|ention))([._]|$)", re.IGNORECASE),
    "cross-attention": re.compile(r"(^|[._])(attn2|cross_?att(n|ention)|EncDecAttention)([._]|$)", re.IGNORECASE),
    "attention": re.compile(r"(^|[._])(attn|attention)([._]|$)", re.IGNORECASE),
    "feed-forward": re.compile(r"(^|[._])(ff|ffn|mlp|feed_?forward|DenseReluDense|experts)([._]|$)", re.IGNORECASE),
    "projections": re.compile(r"(^|[._])proj_(in|out)$"),
    "resnets": re.compile(r"(^|[._])(resnets|in_layers|out_layers|emb_layers|skip_connection)([._]|$)"),
    "samplers": re.compile(r"(^|[._])(downsamplers|upsamplers)([._]|$)"),
}
"""What names say, the first that fits: the gate of an attention is a modulation."""
OTHER = "other"
KINDS = (*_KINDS, OTHER)
"""Every kind of layer, in the order in which data takes its way through a block."""
_NONE: Mapping[str, str] = MappingProxyType({})
_UNET_ENDS = ("unet.up_blocks", "unet.conv_out")
"""What data reaches last: diffusers' UNets define their middle after it."""


def block_of(component: str, module: str) -> str:
    """`unet.down_blocks.1`, `text_encoder.layers.0`, `transformer.single_transformer_blocks.7`, `model.model.layers.3`.

    Outside of UNets and CLIP it ends with the first number that counts blocks.

    Args:
        component: One of `COMPONENTS`, or one that is not known.
        module: Its name in the base.
    """
    if component == "unet":
        found = _BLOCK.search(module)
        return f"{component}.{re.sub('_(?=[0-9])', '.', found[0]) if found else module.partition('.')[0]}"
    if component.startswith("text_encoder") and (layer := _LAYER.search(module)):
        return f"{component}.{'.'.join(layer.groups())}"
    numbered = _NUMBERED.match(module)
    if numbered and not _NO_BLOCK.search(numbered[1]):
        return f"{component}.{'.'.join(numbered.groups())}"
    return f"{component}.{module if component not in COMPONENTS else module.partition('.')[0]}"


def blocks_of(component: str, modules: Iterable[str]) -> tuple[str, ...]:
    """Every block of a component, in the order in which the base defines them; a UNet's as data goes through them.

    Args:
        component: One of `COMPONENTS`.
        modules: In the base's order.
    """
    found = dict.fromkeys(block_of(component, module) for module in modules)
    late = {start: place for place, start in enumerate(_UNET_ENDS, start=1)}
    return tuple(sorted(found, key=lambda block: late.get(listed(block)[0], 0)))


def listed(block: str) -> tuple[str, int | None]:
    """`transformer.blocks.7` as `transformer.blocks` and 7; the number is None where a block has none."""
    numbered = _NUMBER_AT_END.fullmatch(block)
    return (numbered[1], int(numbered[2])) if numbered else (block, None)


def kind_of(module: str, own: Mapping[str, str] = _NONE) -> str:
    """One of `KINDS`.

    Args:
        module: Its name.
        own: Kind → pattern, of the family; these come first.
    """
    if kind := next((kind for kind, pattern in own.items() if re.search(pattern, module)), None):
        return kind
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(module)), OTHER)


def in_order(block: str) -> tuple[int, str, int]:
    """Sorts by name what no base gives an order: `unet` before `text_encoder`, and `layers.2` before `layers.10`."""
    component, _, rest = block.partition(".")
    name, number = listed(rest)
    return place_of(component), name, -1 if number is None else number


def place_of(component: str) -> int:
    """Where a component stands among all of them; what is no component stands last."""
    return COMPONENTS.index(component) if component in COMPONENTS else len(COMPONENTS)
