"""Where in a base a module lies: its block, and what kind of layer it is part of.

Names are told by their beginning and their parts, whatever their spelling: diffusers', sgm's or kohya's flat one.
"""

from __future__ import annotations

import re

_BLOCK = re.compile(r"(?:down_blocks|up_blocks|input_blocks|output_blocks)[._]\d+|mid_block|middle_block")
_LAYER = re.compile(r"encoder[._](layers)[._](\d+)")
COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
"""What of a base LoRAs can touch, in the order in which it is shown."""
_KINDS = {
    "self-attention": re.compile(r"(^|[._])(attn1|self_attn)([._]|$)"),
    "cross-attention": re.compile(r"(^|[._])attn2([._]|$)"),
    "feed-forward": re.compile(r"(^|[._])(ff|mlp)([._]|$)"),
    "projections": re.compile(r"(^|[._])proj_(in|out)$"),
    "resnets": re.compile(r"(^|[._])(resnets|in_layers|out_layers|emb_layers|skip_connection)([._]|$)"),
    "samplers": re.compile(r"(^|[._])(downsamplers|upsamplers)([._]|$)"),
}
OTHER = "other"
KINDS = (*_KINDS, OTHER)
"""Every kind of layer, in the order in which data takes its way through a block's attention."""


def block_of(component: str, module: str) -> str:
    """`unet.down_blocks.1`, `text_encoder.layers.0`.

    Args:
        component: `unet`, `text_encoder` or `text_encoder_2`.
        module: Its name in the base.
    """
    found = _BLOCK.search(module) if component == "unet" else _LAYER.search(module)
    if found is None:
        return f"{component}.{module.partition('.')[0]}"
    return f"{component}.{'.'.join(found.groups()) or re.sub('_(?=[0-9])', '.', found[0])}"


def part_of(component: str, module: str) -> str:
    """What weights can be given to: a block of the UNet (`unet.down_blocks.1`), or a whole text encoder."""
    return block_of(component, module) if component == "unet" else component


def kind_of(module: str) -> str:
    """One of `KINDS`."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(module)), OTHER)


def in_order(block: str) -> tuple[int, str, int]:
    """Sorts `unet.down_blocks.2` before `unet.mid_block` before `unet.up_blocks.0`, and 2 before 10."""
    component, _, rest = block.partition(".")
    name, _, number = rest.rpartition(".") if rest[-1:].isdigit() else (rest, "", "-1")
    return COMPONENTS.index(component), name, int(number)
