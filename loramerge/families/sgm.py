"""The names that Stability's sgm code gives to the UNet's modules: what A1111 and ComfyUI look for in SDXL LoRAs."""

from collections.abc import Iterator
from itertools import chain

from loramerge.families.family import Config
from loramerge.families.layout import Rule, rules

_TOP = {
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


def unet_rules(unet: Config) -> tuple[Rule, ...]:
    """Rules for a UNet of Stable Diffusion.

    Args:
        unet: Its config.json.
    """
    return rules(dict(chain(_TOP.items(), _named_blocks(unet))))


def _named_blocks(unet: Config) -> Iterator[tuple[str, str]]:
    layers, last = int(unet.get("layers_per_block", 2)), len(unet["down_block_types"]) - 1
    for block, kind in enumerate(unet["down_block_types"]):
        for layer in range(layers):
            position = (layers + 1) * block + layer + 1
            yield from _layer(f"input_blocks.{position}", f"down_blocks.{block}", layer, kind)
        if block < last:
            yield f"input_blocks.{(layers + 1) * (block + 1)}.0.op", f"down_blocks.{block}.downsamplers.0.conv"
    for block, kind in enumerate(unet["up_block_types"]):
        for layer in range(layers + 1):
            position = (layers + 1) * block + layer
            yield from _layer(f"output_blocks.{position}", f"up_blocks.{block}", layer, kind)
        if block < last:
            position = (layers + 1) * block + layers
            yield f"output_blocks.{position}.{2 if 'CrossAttn' in kind else 1}", f"up_blocks.{block}.upsamplers.0"
    yield "middle_block.1", "mid_block.attentions.0"
    yield from _resnet("middle_block.0", "mid_block.resnets.0")
    yield from _resnet("middle_block.2", "mid_block.resnets.1")


def _layer(original: str, block: str, layer: int, kind: str) -> Iterator[tuple[str, str]]:
    yield from _resnet(f"{original}.0", f"{block}.resnets.{layer}")
    if "CrossAttn" in kind:
        yield f"{original}.1", f"{block}.attentions.{layer}"


def _resnet(original: str, canonical: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{original}.{there}", f"{canonical}.{here}") for there, here in _RESNET.items())
