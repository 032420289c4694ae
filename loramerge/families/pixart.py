"""PixArt-α and PixArt-Σ: PixArt's names (diffusion/model/nets/PixArtMS.py)."""

from loramerge.families.family import Card, Family, PublishedModel, TextEncoder
from loramerge.families.layout import QKV, each, rules

_MODEL = "PixArtTransformer2DModel"
_BLOCK = "transformer_blocks.*."
_TIME = "adaln_single.emb."
_SIZES = {"_class_name": _MODEL, "caption_channels": 4096}

PIXART = Family(
    name="pixart",
    title="PixArt",
    classes=(_MODEL,),
    original=rules(
        {
            "x_embedder": "pos_embed",
            "t_block.1": "adaln_single.linear",
            **{
                f"{original}.mlp.{there}": f"{_TIME}{canonical}.linear_{here}"
                for original, canonical in (
                    ("t_embedder", "timestep_embedder"),
                    ("csize_embedder", "resolution_embedder"),
                    ("ar_embedder", "aspect_ratio_embedder"),
                )
                for there, here in ((0, 1), (2, 2))
            },
            "y_embedder.y_proj.fc1": "caption_projection.linear_1",
            "y_embedder.y_proj.fc2": "caption_projection.linear_2",
            "final_layer.linear": "proj_out",
            "final_layer.scale_shift_table": "scale_shift_table",
            "blocks.*": "transformer_blocks.*",
            "blocks.*.attn.qkv": each(f"{_BLOCK}attn1.", QKV),
            "blocks.*.attn.proj": f"{_BLOCK}attn1.to_out.0",
            "blocks.*.cross_attn.q_linear": f"{_BLOCK}attn2.to_q",
            "blocks.*.cross_attn.kv_linear": (f"{_BLOCK}attn2.to_k", f"{_BLOCK}attn2.to_v"),
            "blocks.*.cross_attn.proj": f"{_BLOCK}attn2.to_out.0",
            "blocks.*.mlp.fc1": f"{_BLOCK}ff.net.0.proj",
            "blocks.*.mlp.fc2": f"{_BLOCK}ff.net.2",
        }
    ),
    diffusers_in_comfyui=True,
    text_encoders={"text_encoder": TextEncoder(("lora_te1_", "lora_te_"), "t5xxl")},
    published={
        "sigma": PublishedModel(
            "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", {"transformer": {**_SIZES, "use_additional_conditions": False}}
        ),
        "alpha": PublishedModel("PixArt-alpha/PixArt-XL-2-1024-MS", {"transformer": _SIZES}),
    },
    card=Card("text-to-image", ("pixart",), loads="nothing"),
)
