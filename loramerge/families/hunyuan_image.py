"""HunyuanImage 2.1: Tencent's names (Tencent-Hunyuan/HunyuanImage-2.1, hyimage/models/hunyuan)."""

from collections.abc import Mapping

from loramerge.families.family import Card, Family, PublishedModel, Specification
from loramerge.families.hunyuan_video import (
    HUNYUAN_FINAL,
    HUNYUAN_FUSED,
    HUNYUAN_KINDS,
    HUNYUAN_NAMES,
    comfyui_rules,
    embedder,
)
from loramerge.families.layout import rules

_MODEL = "HunyuanImageTransformer2DModel"
_TIME = "time_guidance_embed."
HUNYUAN_GLYPHS = {
    "byt5_in.layernorm": "context_embedder_2.norm",
    **{f"byt5_in.fc{number}": f"context_embedder_2.linear_{number}" for number in (1, 2, 3)},
}
"""What reads the text letter by letter."""

_NAMES: Mapping[str, str | tuple[str, ...]] = {
    **HUNYUAN_NAMES,
    **HUNYUAN_FUSED,
    **HUNYUAN_GLYPHS,
    **embedder("time_in", f"{_TIME}timestep_embedder"),
    **embedder("time_r_in", f"{_TIME}timestep_embedder_r"),
    **embedder("guidance_in", f"{_TIME}guidance_embedder"),
}

HUNYUAN_IMAGE = Family(
    name="hunyuan_image",
    title="HunyuanImage",
    classes=(_MODEL,),
    original=rules(_NAMES, swapped=[HUNYUAN_FINAL]),
    comfyui=comfyui_rules(_NAMES),
    marks=("hunyuan-image", "hunyuan_image", "hunyuanimage"),
    published={
        "2.1": PublishedModel(
            "hunyuanvideo-community/HunyuanImage-2.1-Diffusers",
            {"transformer": {"_class_name": _MODEL, "text_embed_2_dim": 1472}},
        ),
        "2.1-distilled": PublishedModel(
            "hunyuanvideo-community/HunyuanImage-2.1-Distilled-Diffusers",
            {
                "transformer": {
                    "_class_name": _MODEL,
                    "text_embed_2_dim": 1472,
                    "guidance_embeds": True,
                    "use_meanflow": True,
                }
            },
        ),
        "2.1-refiner": PublishedModel(
            "hunyuanvideo-community/HunyuanImage-2.1-Refiner-Diffusers",
            {
                "transformer": {
                    "_class_name": _MODEL,
                    "in_channels": 128,
                    "num_attention_heads": 26,
                    "patch_size": (1, 1, 1),
                    "guidance_embeds": True,
                    "rope_axes_dim": (16, 56, 56),
                }
            },
            "HunyuanImageRefinerPipeline",
        ),
    },
    kinds=HUNYUAN_KINDS,
    specification=Specification("hunyuan-image-2.1", "hunyuan-image-2.1", "2048x2048", "diffusers"),
    card=Card("text-to-image", ("hunyuan-image",), loads="model", guidance="distilled_guidance_scale"),
)
