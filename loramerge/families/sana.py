"""Sana and Sana Sprint: NVIDIA's names (diffusion/model/nets/sana_multi_scale.py)."""

from loramerge.families.family import Card, Family, PublishedModel, TextEncoder
from loramerge.families.layout import QKV, each, rules

_MODEL = "SanaTransformer2DModel"
_BLOCK = "transformer_blocks.*."
_NORMS = {
    f"blocks.*.{attention}.{name}_norm": f"{_BLOCK}{canonical}.norm_{name}"
    for attention, canonical in (("attn", "attn1"), ("cross_attn", "attn2"))
    for name in "qk"
}
SANA_NAMES: dict[str, str | tuple[str, ...]] = {
    "x_embedder": "patch_embed",
    "t_block.1": "time_embed.linear",
    "y_embedder.y_proj.fc1": "caption_projection.linear_1",
    "y_embedder.y_proj.fc2": "caption_projection.linear_2",
    "attention_y_norm": "caption_norm",
    "final_layer.linear": "proj_out",
    "final_layer.scale_shift_table": "scale_shift_table",
    "blocks.*": "transformer_blocks.*",
    "blocks.*.attn.qkv": each(f"{_BLOCK}attn1.", QKV),
    "blocks.*.attn.proj": f"{_BLOCK}attn1.to_out.0",
    "blocks.*.cross_attn.q_linear": f"{_BLOCK}attn2.to_q",
    "blocks.*.cross_attn.kv_linear": (f"{_BLOCK}attn2.to_k", f"{_BLOCK}attn2.to_v"),
    "blocks.*.cross_attn.proj": f"{_BLOCK}attn2.to_out.0",
    "blocks.*.mlp.inverted_conv.conv": f"{_BLOCK}ff.conv_inverted",
    "blocks.*.mlp.depth_conv.conv": f"{_BLOCK}ff.conv_depth",
    "blocks.*.mlp.point_conv.conv": f"{_BLOCK}ff.conv_point",
    **_NORMS,
}
TIME_NAMES = {
    "t_embedder.mlp.0": "time_embed.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_embed.emb.timestep_embedder.linear_2",
}
_SPRINT_NAMES = {
    f"{original}.mlp.{there}": f"time_embed.{canonical}.linear_{here}"
    for original, canonical in (("t_embedder", "timestep_embedder"), ("cfg_embedder", "guidance_embedder"))
    for there, here in ((0, 1), (2, 2))
}
_NORMED = {"_class_name": _MODEL, "qk_norm": "rms_norm_across_heads"}
_0_6B = {
    "num_attention_heads": 36,
    "num_cross_attention_heads": 16,
    "cross_attention_head_dim": 72,
    "cross_attention_dim": 1152,
    "num_layers": 28,
}

SANA = Family(
    name="sana",
    title="Sana",
    classes=(_MODEL,),
    original=lambda config: rules(
        {
            **SANA_NAMES,
            **(_SPRINT_NAMES if config.get("guidance_embeds") else TIME_NAMES),
        }
    ),
    flat_is_canonical=True,
    text_encoders={"text_encoder": TextEncoder(("lora_te_", "lora_te1_"))},
    published={
        "1.6b": PublishedModel(
            "Efficient-Large-Model/Sana_1600M_1024px_diffusers", {"transformer": {"_class_name": _MODEL}}
        ),
        "0.6b": PublishedModel(
            "Efficient-Large-Model/Sana_600M_1024px_diffusers", {"transformer": {"_class_name": _MODEL, **_0_6B}}
        ),
        "1.5-1.6b": PublishedModel("Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers", {"transformer": _NORMED}),
        "1.5-4.8b": PublishedModel(
            "Efficient-Large-Model/SANA1.5_4.8B_1024px_diffusers", {"transformer": {**_NORMED, "num_layers": 60}}
        ),
        "sprint-1.6b": PublishedModel(
            "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
            {"transformer": {**_NORMED, "guidance_embeds": True}},
        ),
        "sprint-0.6b": PublishedModel(
            "Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers",
            {"transformer": {**_NORMED, **_0_6B, "guidance_embeds": True}},
        ),
    },
    card=Card("text-to-image", ("sana",)),
)
