"""HunyuanVideo: Tencent's names (Tencent-Hunyuan/HunyuanVideo, hyvideo/modules/models.py)."""

from collections.abc import Mapping
from types import MappingProxyType

from loramerge.families.clip import CLIP_L
from loramerge.families.family import Card, Family, PublishedModel, Specification, TextEncoder
from loramerge.families.layout import ADDED_QKV, QKV, Rule, each, rules
from loramerge.families.llama import INNER_MODEL

_MODEL = "HunyuanVideoTransformer3DModel"
_DOUBLE, _SINGLE = "transformer_blocks.*", "single_transformer_blocks.*"
_REFINER = "context_embedder.token_refiner.refiner_blocks.*"
_ORIGINAL_REFINER = "txt_in.individual_token_refiner.blocks.*"
HUNYUAN_FINAL = "final_layer.adaLN_modulation.1"
"""The one layer whose halves have changed places."""
HUNYUAN_NAMES: Mapping[str, str | tuple[str, ...]] = MappingProxyType(
    {
        "img_in": "x_embedder",
        "txt_in.input_embedder": "context_embedder.proj_in",
        "txt_in.t_embedder.mlp.0": "context_embedder.time_text_embed.timestep_embedder.linear_1",
        "txt_in.t_embedder.mlp.2": "context_embedder.time_text_embed.timestep_embedder.linear_2",
        "txt_in.c_embedder.linear_1": "context_embedder.time_text_embed.text_embedder.linear_1",
        "txt_in.c_embedder.linear_2": "context_embedder.time_text_embed.text_embedder.linear_2",
        f"{_ORIGINAL_REFINER}.norm1": f"{_REFINER}.norm1",
        f"{_ORIGINAL_REFINER}.norm2": f"{_REFINER}.norm2",
        f"{_ORIGINAL_REFINER}.self_attn_qkv": each(f"{_REFINER}.attn.", QKV),
        f"{_ORIGINAL_REFINER}.self_attn_proj": f"{_REFINER}.attn.to_out.0",
        f"{_ORIGINAL_REFINER}.mlp.fc1": f"{_REFINER}.ff.net.0.proj",
        f"{_ORIGINAL_REFINER}.mlp.fc2": f"{_REFINER}.ff.net.2",
        f"{_ORIGINAL_REFINER}.adaLN_modulation.1": f"{_REFINER}.norm_out.linear",
        "double_blocks.*.img_mod.linear": f"{_DOUBLE}.norm1.linear",
        "double_blocks.*.img_attn_q_norm": f"{_DOUBLE}.attn.norm_q",
        "double_blocks.*.img_attn_k_norm": f"{_DOUBLE}.attn.norm_k",
        "double_blocks.*.img_attn_proj": f"{_DOUBLE}.attn.to_out.0",
        "double_blocks.*.img_mlp.fc1": f"{_DOUBLE}.ff.net.0.proj",
        "double_blocks.*.img_mlp.fc2": f"{_DOUBLE}.ff.net.2",
        "double_blocks.*.txt_mod.linear": f"{_DOUBLE}.norm1_context.linear",
        "double_blocks.*.txt_attn_q_norm": f"{_DOUBLE}.attn.norm_added_q",
        "double_blocks.*.txt_attn_k_norm": f"{_DOUBLE}.attn.norm_added_k",
        "double_blocks.*.txt_attn_proj": f"{_DOUBLE}.attn.to_add_out",
        "double_blocks.*.txt_mlp.fc1": f"{_DOUBLE}.ff_context.net.0.proj",
        "double_blocks.*.txt_mlp.fc2": f"{_DOUBLE}.ff_context.net.2",
        "final_layer.linear": "proj_out",
        HUNYUAN_FINAL: "norm_out.linear",
    }
)
"""What all models of the Hunyuan kind have in common."""
HUNYUAN_FUSED: Mapping[str, str | tuple[str, ...]] = MappingProxyType(
    {
        "double_blocks.*.img_attn_qkv": each(f"{_DOUBLE}.attn.", QKV),
        "double_blocks.*.txt_attn_qkv": each(f"{_DOUBLE}.attn.", ADDED_QKV),
        "single_blocks.*.linear1": (*each(f"{_SINGLE}.attn.", QKV), f"{_SINGLE}.proj_mlp"),
        "single_blocks.*.linear2": f"{_SINGLE}.proj_out",
        "single_blocks.*.q_norm": f"{_SINGLE}.attn.norm_q",
        "single_blocks.*.k_norm": f"{_SINGLE}.attn.norm_k",
        "single_blocks.*.modulation.linear": f"{_SINGLE}.norm.linear",
    }
)
"""Blocks with one layer for queries, keys and values, of those that have such."""


_IN_COMFYUI = (
    ("self_attn_qkv", "self_attn.qkv"),
    ("self_attn_proj", "self_attn.proj"),
    ("_attn_qkv", "_attn.qkv"),
    ("_attn_proj", "_attn.proj"),
    ("mlp.fc1", "mlp.0"),
    ("mlp.fc2", "mlp.2"),
    ("_mod.linear", "_mod.lin"),
    ("modulation.linear", "modulation.lin"),
    ("_in.mlp.0", "_in.in_layer"),
    ("_in.mlp.2", "_in.out_layer"),
    ("t_embedder.mlp.0", "t_embedder.in_layer"),
    ("t_embedder.mlp.2", "t_embedder.out_layer"),
    ("c_embedder.linear_1", "c_embedder.in_layer"),
    ("c_embedder.linear_2", "c_embedder.out_layer"),
)


def comfyui_rules(names: Mapping[str, str | tuple[str, ...]]) -> tuple[Rule, ...]:
    """Rules for what ComfyUI's own model of the kind calls things (comfy/ldm/hunyuan_video/model.py).

    Args:
        names: Original name → canonical names.
    """
    spelt = {}
    for original, canonical in names.items():
        called = original
        for before, after in _IN_COMFYUI:
            called = called.replace(before, after)
        spelt[called] = canonical
    return rules(spelt, swapped=[HUNYUAN_FINAL])


def embedder(original: str, canonical: str) -> Mapping[str, str]:
    """Original name → canonical name of the two layers that embed a number."""
    return {f"{original}.mlp.0": f"{canonical}.linear_1", f"{original}.mlp.2": f"{canonical}.linear_2"}


_VIDEO_NAMES: Mapping[str, str | tuple[str, ...]] = {
    **HUNYUAN_NAMES,
    **HUNYUAN_FUSED,
    **embedder("time_in", "time_text_embed.timestep_embedder"),
    **embedder("guidance_in", "time_text_embed.guidance_embedder"),
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
}
HUNYUAN_VIDEO_RULES = rules(_VIDEO_NAMES, swapped=[HUNYUAN_FINAL])
HUNYUAN_VIDEO_COMFYUI = comfyui_rules(_VIDEO_NAMES)
HUNYUAN_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "self-attention": r"\.attn\.",
        "feed-forward": r"\.ff_context\.|^single_transformer_blocks\..*\.proj_(mlp|out)$",
        "modulation": r"\.(norm1|norm1_context|norm)\.linear$|norm_out\.linear$",
    }
)
HUNYUAN_TEXT_ENCODERS: Mapping[str, TextEncoder] = MappingProxyType(
    {
        "text_encoder": TextEncoder(("lora_te1_",), "llama", INNER_MODEL),
        "text_encoder_2": TextEncoder(("lora_te2_",), "clip_l"),
    }
)


def _hunyuan_edition(name: str, **config: object) -> PublishedModel:
    return PublishedModel(
        f"hunyuanvideo-community/{name}",
        {"transformer": {"_class_name": _MODEL, **config}, "text_encoder_2": CLIP_L},
        "HunyuanVideoImageToVideoPipeline" if "image_condition_type" in config else "",
    )


HUNYUAN_VIDEO = Family(
    name="hunyuan_video",
    title="HunyuanVideo",
    civitai="Hunyuan Video",
    classes=(_MODEL,),
    original=HUNYUAN_VIDEO_RULES,
    comfyui=HUNYUAN_VIDEO_COMFYUI,
    text_encoders=HUNYUAN_TEXT_ENCODERS,
    marks=("hunyuan_video", "hunyuan-video", "hunyuanvideo"),
    published={
        "t2v": _hunyuan_edition("HunyuanVideo"),
        "i2v": _hunyuan_edition("HunyuanVideo-I2V", image_condition_type="token_replace"),
        "i2v-33ch": _hunyuan_edition(
            "HunyuanVideo-I2V-33ch", in_channels=33, guidance_embeds=False, image_condition_type="latent_concat"
        ),
    },
    kinds=HUNYUAN_KINDS,
    specification=Specification(
        "hunyuan-video", "hunyuan_video", "1280x720", "https://github.com/Tencent/HunyuanVideo"
    ),
    card=Card("text-to-video", ("hunyuan-video",)),
)
