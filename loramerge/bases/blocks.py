"""Where in a base a module lies: its block, and what kind of layer it is part of.

Names are told by their beginning and their parts, whatever their spelling: diffusers', sgm's or kohya's flat one.
"""

from __future__ import annotations

import re

_BLOCK = re.compile(r"(?:down_blocks|up_blocks|input_blocks|output_blocks)[._]\d+|mid_block|middle_block")
_NUMBERED = re.compile(r"(.*?[^._\d])[._](\d+)(?=[._]|$)", re.DOTALL)
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


def part_of(component: str, module: str) -> str:
    """What weights can be given to: a block of the UNet (`unet.down_blocks.1`), or a whole text encoder."""
    return block_of(component, module) if component == "unet" else component


def kind_of(module: str) -> str:
    """One of `KINDS`."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(module)), OTHER)


def in_order(block: str) -> tuple[int, str, int]:
    """Sorts `unet.down_blocks.2` before `unet.mid_block` before `unet.up_blocks.0`, and 2 before 10."""
    component, _, rest = block.partition(".")
    numbered = _NUMBER_AT_END.fullmatch(rest)
    name, number = numbered.groups() if numbered else (rest, "-1")
    place = COMPONENTS.index(component) if component in COMPONENTS else len(COMPONENTS)
    return place, name, int(number)
