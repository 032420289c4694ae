"""HunyuanVideo 1.5: Tencent's names (Tencent-Hunyuan/HunyuanVideo-1.5, hyvideo/models/transformers)."""

from collections.abc import Mapping

from loramerge.families.family import Card, Family, PublishedModel, Specification
from loramerge.families.hunyuan_image import HUNYUAN_GLYPHS
from loramerge.families.hunyuan_video import (
    HUNYUAN_FINAL,
    HUNYUAN_FUSED,
    HUNYUAN_KINDS,
    HUNYUAN_NAMES,
    comfyui_rules,
    embedder,
)
from loramerge.families.layout import rules

_MODEL = "HunyuanVideo15Transformer3DModel"
_VISION = {0: "norm_in", 1: "linear_1", 3: "linear_2", 4: "norm_out"}

_COMMON: Mapping[str, str | tuple[str, ...]] = {
    **HUNYUAN_NAMES,
    **HUNYUAN_GLYPHS,
    **{f"vision_in.proj.{number}": f"image_embedder.{name}" for number, name in _VISION.items()},
    **embedder("time_in", "time_embed.timestep_embedder"),
    **embedder("time_r_in", "time_embed.timestep_embedder_r"),
    "cond_type_embedding": "cond_type_embed",
}

HUNYUAN_VIDEO15 = Family(
    name="hunyuan_video15",
    title="HunyuanVideo 1.5",
    classes=(_MODEL,),
    original=rules(
        {
            **_COMMON,
            **{f"double_blocks.*.img_attn_{part}": f"transformer_blocks.*.attn.to_{part}" for part in "qkv"},
            **{f"double_blocks.*.txt_attn_{part}": f"transformer_blocks.*.attn.add_{part}_proj" for part in "qkv"},
        },
        swapped=[HUNYUAN_FINAL],
    ),
    comfyui=comfyui_rules({**_COMMON, **HUNYUAN_FUSED}),  # which has one layer there, where Tencent has three
    marks=("hunyuan_video_1_5", "hunyuan_video_1.5", "hunyuan-video-1.5", "hunyuanvideo-1.5"),
    published={
        "t2v": PublishedModel(
            "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v", {"transformer": {"_class_name": _MODEL}}
        )
    },
    kinds=HUNYUAN_KINDS,
    specification=Specification(
        "hunyuan-video-1.5", "hunyuan_video_1_5", "1280x720", "https://github.com/Tencent-Hunyuan/HunyuanVideo-1.5"
    ),
    card=Card("text-to-video", ("hunyuan-video-1.5",), loads="model"),
)
