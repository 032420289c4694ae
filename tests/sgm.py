"""The module names of Stability's own SDXL code, which kohya's sd-scripts trains and A1111 and ComfyUI read."""

from __future__ import annotations

import re
from typing import Any

_OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_INNER = re.compile(
    r"(?P<side>down|mid|up)_blocks?\.((?P<block>\d+)\.)?"
    r"(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)


def sgm_name(name: str, unet_config: Any) -> str:
    """The name that Stability's own code has for a module of diffusers' UNet.

    >>> sgm_name("down_blocks.1.attentions.0.proj_in", config_of_sdxl)
    'input_blocks.4.1.proj_in'
    """
    layers = unet_config.layers_per_block
    if name in _OUTER:
        return _OUTER[name]
    match = _INNER.fullmatch(name)
    if match is None:
        raise KeyError(name)
    side, kind, rest = match["side"], match["kind"], match["rest"]
    block, layer = int(match["block"] or 0), int(match["layer"])
    rest = _RESNET[rest] if kind == "resnets" else rest
    if side == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * layer}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{(layers + 1) * (block + 1)}.0.op"
    slot = int(kind == "attentions")
    if side == "down":
        return f"input_blocks.{(layers + 1) * block + layer + 1}.{slot}.{rest}"
    if kind == "upsamplers":
        slot, layer = 2 if "CrossAttn" in unet_config.up_block_types[block] else 1, layers
    return f"output_blocks.{(layers + 1) * block + layer}.{slot}.{rest}"
