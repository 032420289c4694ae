"""The names that Stability's sgm code gives to the UNet's modules: what A1111 and ComfyUI look for in SDXL LoRAs."""

from collections.abc import Iterator, Mapping
from typing import Any

_TOP = {
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


def sgm_name(module: str, unet: Mapping[str, Any]) -> str | None:
    """The sgm name of a UNet module, or None where it has none.

    Args:
        module: Its name in diffusers, `down_blocks.1.attentions.0.proj_in`.
        unet: The UNet's config.json.
    """
    if module in _TOP:
        return _TOP[module]
    for diffusers, sgm in _sgm_blocks(unet):
        if module.startswith(diffusers):
            rest = module[len(diffusers) :]
            if ".resnets." in diffusers:
                return f"{sgm}{_RESNET[rest]}" if rest in _RESNET else None
            return f"{sgm}{rest}"
    return None


def _sgm_blocks(unet: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    layers, last = int(unet.get("layers_per_block", 2)), len(unet["down_block_types"]) - 1
    for block, kind in enumerate(unet["down_block_types"]):
        for layer in range(layers):
            position = (layers + 1) * block + layer + 1
            yield f"down_blocks.{block}.resnets.{layer}.", f"input_blocks.{position}.0."
            if "CrossAttn" in kind:
                yield f"down_blocks.{block}.attentions.{layer}.", f"input_blocks.{position}.1."
        if block < last:
            yield f"down_blocks.{block}.downsamplers.0.conv", f"input_blocks.{(layers + 1) * (block + 1)}.0.op"
    for block, kind in enumerate(unet["up_block_types"]):
        for layer in range(layers + 1):
            position = (layers + 1) * block + layer
            yield f"up_blocks.{block}.resnets.{layer}.", f"output_blocks.{position}.0."
            if "CrossAttn" in kind:
                yield f"up_blocks.{block}.attentions.{layer}.", f"output_blocks.{position}.1."
        if block < last:
            position = (layers + 1) * block + layers
            yield f"up_blocks.{block}.upsamplers.0.", f"output_blocks.{position}.{2 if 'CrossAttn' in kind else 1}."
    yield "mid_block.attentions.0.", "middle_block.1."
    yield "mid_block.resnets.0.", "middle_block.0."
    yield "mid_block.resnets.1.", "middle_block.2."
